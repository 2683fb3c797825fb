#!/bin/bash
# jobmanager | taskmanager | submit | any other command. Each replaces this shell, so that SIGTERM reaches it.
set -eu
case "${1:-}" in
    jobmanager | taskmanager)
        export FLINK_SERVICE="flink-$1" FLINK_LOG_FORMAT="${LOG_FORMAT:-json}"
        if [ "$FLINK_LOG_FORMAT" = auto ]; then export FLINK_LOG_FORMAT=json; fi
        exec "$FLINK_HOME/bin/$1.sh" start-foreground
        ;;
    submit) exec python -m flink_job ;;
    *) exec "$@" ;;
esac
