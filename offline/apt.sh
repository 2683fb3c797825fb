# Functions for Debian packages, sourced by `install` and `stand-ins`. bash, as root.
# shellcheck shell=bash

say() { printf 'prepare: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || die "$0 works on Debian and Ubuntu only, as root"

apt_update() {
  [ -n "${apt_updated:-}" ] || apt-get update -qq </dev/null >&2
  apt_updated=yes
}

apt_install() {
  apt_update
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=300 install -y -qq "$@" </dev/null >/dev/null
}

# Prints the address of the first archive with a release (a pattern) in this machine's apt sources, in any format.
archive() {
  local address
  # shellcheck disable=SC2016 # apt replaces these
  address=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v release="^($1)\$" '$1 ~ release && $2 == "main" { print $3; exit }')
  case $address in mirror+file:*) address=$(awk '{ print $1; exit }' "${address#mirror+file:}") ;; esac
  printf '%s\n' "$address"
}

# Sets `mirror` to the address of a Debian archive.
find_mirror() {
  local releases='(old)*stable|testing|sid|bookworm|trixie|forky'
  mirror=${OFFLINE_MIRROR:-$(archive "$releases")}
  if [ -z "$mirror" ]; then # apt lists no archive before it has its package lists
    apt_update
    mirror=$(archive "$releases")
  fi
  [ -n "$mirror" ] || die 'the apt sources of this machine name no Debian archive: set OFFLINE_MIRROR to the address of one'
}
