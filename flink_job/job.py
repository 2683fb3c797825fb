"""The graph of the job: its source, its stages and its sink.

`flink run -d -py /app/flink_job/job.py` submits it, unless it is already running.

    Kafka Source → Duplicate Filter → Score Calculator → (Judge) → Decision Splitter → Kafka Sink

Source, filter and sink are SQL around the Python stages; the judge is there if a model is set for it. PyFlink's
DataStream connector for Kafka supports neither the partition and offset of a record nor a topic for each record, and
SQL stages stay in the JVM.
"""

import sys
from typing import Any

from pyflink.common import Configuration, Time
from pyflink.datastream import AsyncDataStream, DataStream, StreamExecutionEnvironment
from pyflink.table import DataTypes, Schema, StreamTableEnvironment, Table, TableDescriptor

from flink_job.cluster import JOB_NAME, Cluster, Unreachable
from flink_job.operators import OUTGOING, SCORED, DecisionSplitter, JudgeCaller, ScoreCalculator
from flink_job.settings import FlinkJobSettings
from pipeline import topics
from pipeline.settings import load

GROUP = "score-validator"
"""Consumer group. Flink assigns the partitions itself. It commits offsets with each checkpoint, for monitoring and for
a start without a checkpoint."""

# Deduplicate keeps the first record of each identity in keyed state, in the JVM and before scoring. A Python function
# after it that did the same would halve the throughput.
#
# asked_at is part of the identity: a failed question that is asked again restarts with attempt 1. The key is the
# question's id. Records without an identity (no JSON, no key, …) are identified by partition and offset, so that none
# of them is dropped.
FIRST_COPIES = """
    SELECT `key`, body, `partition`, `offset`
    FROM (
        SELECT *, ROW_NUMBER() OVER (PARTITION BY identifier ORDER BY arrived) AS nth
        FROM (
            SELECT
                *,
                COALESCE(
                    CAST(`key` AS STRING)
                        || ' ' || JSON_VALUE(CAST(body AS STRING), '$.asked_at')
                        || ' ' || JSON_VALUE(CAST(body AS STRING), '$.processing_attempts'),
                    CAST(`partition` AS STRING) || '-' || CAST(`offset` AS STRING)
                ) AS identifier
            FROM responses
        )
    )
    WHERE nth = 1
"""


def configuration(settings: FlinkJobSettings) -> Configuration:
    """Returns Flink's configuration from the job's settings; the rest is in conf/config.yaml."""
    config = Configuration()
    for key, value in {
        "parallelism.default": f"{settings.flink_parallelism}",
        "execution.checkpointing.mode": settings.checkpointing_mode,
        "execution.checkpointing.interval": _duration(settings.checkpoint_interval_seconds),
        "execution.checkpointing.dir": settings.checkpoint_dir.as_uri(),
        "table.exec.state.ttl": _duration(settings.dedup_ttl_seconds),
    }.items():
        config.set_string(key, value)
    return config


def build(env: StreamExecutionEnvironment, settings: FlinkJobSettings) -> None:
    """Adds the job's stages to an environment."""
    tables = StreamTableEnvironment.create(env)
    tables.create_temporary_table("responses", _responses(settings))
    tables.create_temporary_table("outgoing", _outgoing(settings))

    first_copies = tables.to_data_stream(tables.sql_query(FIRST_COPIES))
    scored = AsyncDataStream.unordered_wait(
        first_copies,
        ScoreCalculator(settings.scorer_url, settings.score_capacity),
        # No timeout: it would cost a thread per record, and end the wait for an unavailable scorer. Calls have a
        # timeout.
        timeout=Time.milliseconds(0),
        capacity=settings.score_capacity,
        output_type=SCORED,
    )
    scored.name("Score Calculator").uid("score-calculator")
    # Separate stages show their records in and out in the UI. A measurement found chained stages no faster.
    scored.start_new_chain()
    if settings.judge_model:
        scored = _judged(scored, settings)
    decided = scored.flat_map(DecisionSplitter(settings.gate, settings.poison_limit), OUTGOING)
    decided.name("Decision Splitter").uid("decision-splitter")
    decided.start_new_chain()

    statements = tables.create_statement_set()
    statements.add_insert("outgoing", _rows(tables, decided))
    statements.attach_as_datastream()
    _name_sql_operators(env)


def _judged(scored: DataStream, settings: FlinkJobSettings) -> DataStream:
    judge = JudgeCaller(
        settings.judge_url,
        settings.judge_model,
        settings.judge_capacity,
        settings.judge_timeout,
        settings.gate,
        settings.judge_when,
    )
    # No timeout, as for the scorer.
    judged = AsyncDataStream.unordered_wait(
        scored, judge, timeout=Time.milliseconds(0), capacity=settings.judge_capacity, output_type=SCORED
    )
    judged.name("Judge").uid("judge")
    return judged.start_new_chain()


def main() -> None:
    """Submits the job."""
    settings = load(FlinkJobSettings)
    try:
        active = Cluster(settings.flink_jobmanager_url).jobs().active
    except Unreachable as error:
        sys.exit(f"The JobManager does not answer: {error}")
    if active:
        print(f"{JOB_NAME} is there already: {active[0].id} ({active[0].state}). Nothing was submitted.")
        return
    env = StreamExecutionEnvironment.get_execution_environment(configuration(settings))
    build(env, settings)
    env.execute(JOB_NAME)


def _responses(settings: FlinkJobSettings) -> TableDescriptor:
    schema = (
        Schema.new_builder()
        .column("key", DataTypes.BYTES())
        .column("body", DataTypes.BYTES())
        .column_by_metadata("partition", DataTypes.INT(), is_virtual=True)
        .column_by_metadata("offset", DataTypes.BIGINT(), is_virtual=True)
        .column_by_expression("arrived", "PROCTIME()")
        .build()
    )
    return _kafka_table(
        settings,
        schema,
        {
            "topic": topics.RESPONSES_SUCCESS,
            "properties.group.id": GROUP,
            "scan.startup.mode": "group-offsets",
            "properties.auto.offset.reset": "earliest",
            "scan.topic-partition-discovery.interval": "30 s",
        },
    )


def _outgoing(settings: FlinkJobSettings) -> TableDescriptor:
    schema = (
        Schema.new_builder()
        .column_by_metadata("topic", DataTypes.STRING())
        .column("key", DataTypes.BYTES())
        .column("body", DataTypes.BYTES())
        .build()
    )
    allowed = (topics.VALIDATED, topics.QUESTIONS_PENDING, topics.LOW_QUALITY, topics.PERMANENT)
    return _kafka_table(
        settings,
        schema,
        {
            "topic": ";".join(allowed),
            **settings.delivery_options,
            "properties.max.request.size": f"{topics.MAX_PERMANENT_BYTES}",
            "properties.compression.type": "lz4",
        },
    )


def _kafka_table(settings: FlinkJobSettings, schema: Schema, options: dict[str, str]) -> TableDescriptor:
    """Returns a table over topics whose columns `key` and `body` are the raw bytes of a record."""
    builder = TableDescriptor.for_connector("kafka").schema(schema)
    raw = {"key.format": "raw", "key.fields": "key", "value.format": "raw", "value.fields-include": "EXCEPT_KEY"}
    brokers = {"properties.bootstrap.servers": settings.kafka_bootstrap_servers}
    for key, value in (brokers | raw | options).items():
        builder = builder.option(key, value)
    return builder.build()


def _rows(tables: StreamTableEnvironment, decided: DataStream) -> Table:
    return tables.from_data_stream(decided)


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)} ms"


# --- names of the operators that SQL creates --------------------------------------------------------------------------

# Maps the start of the planner's name to our name. SQL has no syntax for the names and ids of operators (FLINK-6966),
# so they are set afterwards. An operator that is not listed keeps the planner's name.
_NAMES = {
    "KafkaSource": "Kafka Source",
    "Calc": "Columns",
    "Deduplicate": "Duplicate Filter",
    "TableToDataStream": "To Python",
    "DataStreamToTable": "Kafka Sink: Rows",
    "ConstraintEnforcer": "Constraints",
    "outgoing": "Kafka Sink",
}
_STATEFUL = ("Kafka Source", "Duplicate Filter", "Kafka Sink")


def _name_sql_operators(env: StreamExecutionEnvironment) -> None:
    """Sets the names of the operators that SQL creates and the ids of those with state; separates the sink's stage."""
    seen = set()
    pending = list(env._j_stream_execution_environment.getTransformations())
    while pending:
        operator = pending.pop()
        if operator.getId() in seen:
            continue
        seen.add(operator.getId())
        pending.extend(operator.getInputs())
        name = next((ours for planners, ours in _NAMES.items() if operator.getName().startswith(planners)), None)
        if name is None:
            continue
        operator.setName(name)
        operator.setDescription(name)
        if name in _STATEFUL:
            operator.setUid(name.lower().replace(" ", "-"))
        if name == "Kafka Sink: Rows":
            operator.setChainingStrategy(_head_of_chain())


def _head_of_chain() -> Any:
    from pyflink.java_gateway import get_gateway

    return get_gateway().jvm.org.apache.flink.streaming.api.operators.ChainingStrategy.HEAD


if __name__ == "__main__":
    main()
