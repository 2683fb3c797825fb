#!/usr/bin/env bash
# The official redis-server is compiled without protected mode, which rejects clients from other hosts. Debian's needs an
# option for that.
set -euo pipefail

case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "${1:-}" = redis-server ]; then
  umask 0077
  set -- "$@" --protected-mode no
fi
exec "$@"
