#!/bin/sh
# Writes the parts of the configuration that depend on the environment, then runs nginx (or checks the configuration: `-t`).
set -eu
mkdir -p /tmp/nginx

# The engine's DNS server. Names are resolved again after a few seconds, because a replaced container has another address.
resolver=$(awk '$1 == "nameserver" { print $2; exit }' /etc/resolv.conf)
case $resolver in *:*) resolver="[$resolver]" ;; esac
echo "resolver $resolver valid=5s;" >/tmp/nginx/resolver.conf

# Names that an attacker cannot use for DNS rebinding: names without a dot, and IP addresses (same rule as in
# pipeline/origins.py). Then the names of the setting; `*` is any name.
own='localhost ~^[^.]+$ ~^[0-9.]+$ ~^\[[0-9a-f:.]+\]$'
allowed=$(printf '%s' "${ALLOWED_HOSTS:-}" | tr ',' ' ' | sed 's/\(^\| \)\*\( \|$\)/\1~.\2/')
case $allowed in
  *[!A-Za-z0-9._*\ ~-]*)
    echo "reverse-proxy: ALLOWED_HOSTS takes names separated by commas, not '$ALLOWED_HOSTS'" >&2
    exit 2
    ;;
esac
echo "server_name $own $allowed;" >/tmp/nginx/names.conf

exec nginx -e stderr -c /app/reverse_proxy/nginx.conf "$@"
