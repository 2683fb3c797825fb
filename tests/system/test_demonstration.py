"""The commands and statements of the demonstration.

`docs/demonstration.md` runs unchanged, block by block; a unit test checks that `docs/demostracion.md` has the same.
"""

# ruff: noqa: E501 (statements as they are typed)

import json

import pytest

from tests.demonstration.document import Step, steps
from tests.demonstration.runner import ROOT, Runner
from tests.fleet import eventually

STEPS = [each for each in steps((ROOT / "docs/demonstration.md").read_text()) if not each.skip]

STATEMENTS = {
    "answers": "SELECT COUNT(*) as total_respuestas FROM responses;",
    "scores": """
        SELECT COUNT(*) as total, ROUND(AVG(bert_score)::numeric, 3) as score_promedio,
            ROUND(STDDEV(bert_score)::numeric, 3) as desviacion, ROUND(MIN(bert_score)::numeric, 3) as min_score,
            ROUND(MAX(bert_score)::numeric, 3) as max_score
        FROM responses;""",
    "attempts": """
        SELECT processing_attempts as intentos, COUNT(*) as cantidad, ROUND(AVG(bert_score)::numeric, 3) as score_promedio,
            ROUND(COUNT(*) * 100.0 / (SELECT COUNT(*) FROM responses), 1) as porcentaje
        FROM responses GROUP BY processing_attempts ORDER BY processing_attempts;""",
    "cost": """
        SELECT COUNT(*) as total_preguntas, SUM(processing_attempts) as total_llamadas_llm,
            ROUND(AVG(processing_attempts)::numeric, 2) as promedio_llamadas,
            ROUND((SUM(processing_attempts)::numeric - COUNT(*)) / COUNT(*) * 100, 1) as overhead_porcentaje
        FROM responses;""",
    "recovered": """
        SELECT CASE WHEN processing_attempts = 1 THEN 'Éxito al primer intento'
            WHEN processing_attempts = 2 THEN 'Recuperadas tras 1 reintento'
            WHEN processing_attempts = 3 THEN 'Recuperadas tras 2 reintentos' END as categoria,
            COUNT(*) as cantidad, ROUND(COUNT(*) * 100.0 / (SELECT COUNT(*) FROM responses), 1) as porcentaje
        FROM responses GROUP BY processing_attempts ORDER BY processing_attempts;""",
    "limit": """
        SELECT MAX(processing_attempts) as max_intentos_observado,
            COUNT(CASE WHEN processing_attempts >= 3 THEN 1 END) as respuestas_limite_maximo FROM responses;""",
    "summary": """
        SELECT 'Total Preguntas' as metrica, COUNT(*)::text as valor FROM responses
        UNION ALL SELECT 'Score Promedio', ROUND(AVG(bert_score)::numeric, 3)::text FROM responses
        UNION ALL SELECT 'Mejora vs Umbral Inicial', ROUND((AVG(bert_score) - 0.75) / 0.75 * 100, 1)::text || '%' FROM responses
        UNION ALL SELECT 'Overhead Computacional',
            ROUND((SUM(processing_attempts)::numeric - COUNT(*)) / COUNT(*) * 100, 1)::text || '%' FROM responses;""",
}


@pytest.fixture(scope="module", autouse=True)
def traffic(fleet):
    """Waits until the questions that the fleet asks at its start have answers."""
    eventually(
        lambda: fleet.sql("SELECT count(*) AS n FROM responses")[0]["n"] >= 10, "ten answers are kept", 180, interval=1
    )


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_statements_run_unchanged(fleet, name):
    output = fleet.exec("postgres", "psql", "-U", "user", "-d", "yahoo_db", "-c", STATEMENTS[name])
    assert "row" in output


@pytest.mark.parametrize("view", ["score_summary", "regeneration_analysis", "latency_by_stage", "error_distribution"])
def test_the_views_can_be_queried_and_have_rows(fleet, view):
    fleet.sql(f"SELECT * FROM {view} LIMIT 5")
    if view in ("score_summary", "latency_by_stage"):
        assert fleet.sql(f"SELECT count(*) AS n FROM {view}")[0]["n"] > 0


def test_scores_have_at_least_five_values(fleet):
    [row] = fleet.sql("SELECT count(DISTINCT bert_score) AS n, min(bert_score), max(bert_score) FROM responses")
    assert row["n"] >= 5
    assert row["min"] < row["max"]


def test_the_topic_has_three_partitions(fleet):
    output = fleet.exec(
        "kafka", "kafka-topics", "--bootstrap-server", "localhost:9092", "--describe", "--topic", "questions-pending"
    )
    assert "PartitionCount: 3" in output


def test_the_traffic_generator_asks_and_waits(fleet):
    command = ["python", "generate_traffic.py", "--num-requests", "5", "--interval", "100"]
    table = fleet.exec("traffic-generator", *command, "--wait", "--seed", "7")
    assert "asked" in table.lower()
    report = json.loads(fleet.exec("traffic-generator", *command, "--seed", "7", "--json", "--quiet"))
    assert report["asked"] == 5
    assert report["cached"] == 5, "the same seed asks the same questions, which are answered now"


def test_usage_errors_of_the_traffic_generator_are_clear(fleet):
    output = fleet.exec("traffic-generator", "python", "generate_traffic.py", "--num-requests", "0", check=False)
    assert "--num-requests" in output
    assert "--interval" in fleet.exec("traffic-generator", "python", "generate_traffic.py", "--help")


@pytest.fixture(scope="module")
def runner(fleet):
    """Runs commands, and afterwards recreates llm-consumer with the settings of `.env`."""
    made = Runner()
    try:
        yield made
    finally:
        made.run(Step("", 0, "docker compose up --detach --no-deps --scale llm-consumer=2 llm-consumer"))
        made.close()
        fleet.wait_healthy("llm-consumer")


@pytest.mark.parametrize("step", STEPS, ids=[f"line {each.line}" for each in STEPS])
def test_the_steps_of_the_document_run_in_order(runner, step):
    """A step may depend on the ones before it, so select all of them."""
    print(runner.run(step))
