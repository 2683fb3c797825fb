#!/bin/sh
# Writes what depends on the environment where nginx.conf includes it, then becomes nginx (or checks its settings: `-t`).
set -eu
mkdir -p /tmp/nginx

# The engine's DNS server: names are looked up again and again, for a container that is replaced has another address.
resolver=$(awk '$1 == "nameserver" { print $2; exit }' /etc/resolv.conf)
case $resolver in *:*) resolver="[$resolver]" ;; esac
echo "resolver $resolver valid=5s;" >/tmp/nginx/resolver.conf

# Names that nobody else can have, for a page to come here by (pipeline/origins.py has the same rule): one without a dot, and
# an address. Then those of the setting; `*` is any.
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
