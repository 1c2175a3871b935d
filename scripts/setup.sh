#!/bin/sh
# Brings a fresh checkout on a fresh Debian to where demo, tests or bench can run, and says on stderr what it does, a line each.
# Usage: setup.sh demo|test|bench. Silent and quick where there is nothing to do.
set -eu
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

command -v node >/dev/null 2>&1 || fail "Node 18 or newer expected, got none; apt-get install nodejs npm"
command -v npm >/dev/null 2>&1 || fail "npm expected, got none; apt-get install npm"

# program:package
programs='ip:iproute2 tc:iproute2 ss:iproute2 nft:nftables setpriv:util-linux ping:iputils-ping traceroute:traceroute'
case "${1:-demo}" in
  demo) ;;
  test) programs="$programs iperf3:iperf3 tcpdump:tcpdump curl:curl git:git wireguard-go:wireguard-go wg:wireguard-tools" ;;
  bench) programs="$programs iperf3:iperf3 wrk:wrk nginx:nginx-light mptcpize:mptcpize ss-local:shadowsocks-libev wireguard-go:wireguard-go wg:wireguard-tools" ;;
  *) fail "demo, test or bench expected, got $1" ;;
esac

PATH="$PATH:/usr/sbin:/sbin"
missing=
for pair in $programs; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || case " $missing " in *" ${pair##*:} "*) ;; *) missing="$missing ${pair##*:}" ;; esac
done

# Keeps packages from starting their services while they are installed, and puts back what was there.
policy=/usr/sbin/policy-rc.d
restore_policy() {
  rm -f "$policy"
  if [ -e "$policy.before-braid" ]; then mv "$policy.before-braid" "$policy"; fi
}

install_packages() {
  if [ -e "$policy" ]; then mv "$policy" "$policy.before-braid"; fi
  trap restore_policy EXIT
  trap 'exit 130' INT TERM HUP
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || { say 'apt-get update'; apt-get update >"$log" 2>&1 </dev/null || true; }
  say "apt-get install$missing"
  # shellcheck disable=SC2086
  if ! apt-get install -y --no-install-recommends $missing >"$log" 2>&1 </dev/null; then
    say 'apt-get update, and once more'
    # shellcheck disable=SC2086
    { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null || { cat "$log" >&2; fail "could not install$missing"; }
  fi
  rm -f "$log"
  # A benchmark's web server has no business in the next boot.
  for service in nginx shadowsocks-libev; do
    case "$missing" in *"$service"*) systemctl disable "$service" >/dev/null 2>&1 || true ;; esac
  done
  restore_policy
  trap - EXIT INT TERM HUP
}

if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || fail "missing packages:$missing; run this as root, or apt-get install$missing"
  command -v apt-get >/dev/null 2>&1 || fail "missing packages (Debian's names):$missing; this machine has no apt-get"
  install_packages
fi

if ! node scripts/installed.cjs; then
  say 'npm ci'
  # A production environment would leave the tools out.
  npm ci --include=dev --include=optional --no-audit --no-fund --loglevel=error >&2 </dev/null
fi

runtime=node_modules/.bin/node
[ -x "$runtime" ] || fail "the runtime node-linux-* expected in node_modules for $(uname -m), got none"
if [ ! -d dist ] || [ -n "$(find src scripts/build.ts package.json -newer dist -type f -print -quit)" ]; then
  say 'build'
  "$runtime" scripts/build.ts >/dev/null || fail "the build failed"
  touch dist
fi
