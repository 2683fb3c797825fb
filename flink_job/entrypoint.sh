#!/bin/bash
# jobmanager | taskmanager | submit | any other command. Each replaces this shell, so that SIGTERM reaches it.
set -eu
# Flink's processes call each other and Kafka directly. Compose passes the proxy of the Docker client's configuration to
# every container, and gRPC, which Beam uses between its processes, would use it even for connections to this machine.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
case "${1:-}" in
    jobmanager | taskmanager)
        export FLINK_SERVICE="flink-$1" FLINK_LOG_FORMAT="${LOG_FORMAT:-json}"
        if [ "$FLINK_LOG_FORMAT" = auto ]; then export FLINK_LOG_FORMAT=json; fi
        exec "$FLINK_HOME/bin/$1.sh" start-foreground
        ;;
    submit) exec python -m flink_job ;;
    *) exec "$@" ;;
esac
