#!/bin/sh
# Installs the Debian packages of requirements/debian.txt, and lets none of their services start: they are tools here.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
command -v apt-get >/dev/null || { echo "This needs Debian or a relative of it; the list is requirements/debian.txt." >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "This needs root: sudo make system-deps" >&2; exit 1; }
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get -q -o Acquire::Retries=3 update
grep -v '^#' "$here/requirements/debian.txt" |
  DEBIAN_FRONTEND=noninteractive xargs -r apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends
