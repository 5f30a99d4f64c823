# shellcheck shell=bash
# From nothing to a running bank, as docs/operating.md has it: package, configuration, data folders, start.

UNITS="raftbankd.service raftbankd@n1.service raftbankd-init@n1.service raftbankd-rejoin@n1.service raftbank-relayd.service"

build_packages() {
  local version; version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$REPO/Cargo.toml")
  mkdir -p "$STAGE/deb"
  if [ -z "$FROM" ]; then
    "$REPO/packaging/build-deb" || return 1
    FROM=$TARGET/release
  fi
  # What is installed first, what it is upgraded to, and one whose programs are too old for this version's data.
  if [ -n "$OLD" ]; then
    cp "$OLD" "$STAGE/deb/old.deb"
  else
    "$REPO/packaging/build-deb" --from "$FROM" --out "$STAGE/deb" --version "$version~1" >/dev/null || return 1
    mv "$STAGE"/deb/raftbank_*.deb "$STAGE/deb/old.deb"
  fi
  "$REPO/packaging/build-deb" --from "$FROM" --out "$STAGE/deb" --version 0.0.1 --format 1 >/dev/null || return 1
  mv "$STAGE"/deb/raftbank_*.deb "$STAGE/deb/toolow.deb"
  "$REPO/packaging/build-deb" --from "$FROM" --out "$STAGE/deb" >/dev/null || return 1
  mv "$STAGE"/deb/raftbank_*.deb "$STAGE/deb/new.deb"
  chmod -R a+rX "$STAGE/deb"
  dpkg-deb -f "$STAGE/deb/new.deb" Version Installed-Size | tr '\n' ' '
}
lintian_is_silent() {
  local said
  # Its standard error may speak of tools that it would like to have; what it finds is on standard output.
  said=$(lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$STAGE/deb/new.deb" 2>"$STAGE/said") ||
    { echo "$said"; cat "$STAGE/said"; return 1; }
  [ -z "$said" ] || { echo "$said"; return 1; }
}
boot() {
  local name since; since=$(milliseconds)
  for name in $NODES; do disk_make "$name" || return 1; done
  host up relay 10 "--bind-ro=$STAGE:/mnt" || return 1
  for name in $NODES; do up_again "$name" || return 1; done
  for name in $HOSTS; do
    [ "$(host wait "$name")" = running ] || { echo "$name: $(on "$name" systemctl --failed --no-legend)"; return 1; }
  done
  echo "$(($(milliseconds) - since)) ms"
}
# A configuration that was edited is kept, as it is by default where somebody is asked.
apt_install() { on "$1" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o Dpkg::Options::=--force-confold "${@:2}" >"$STAGE/said" 2>&1 || { cat "$STAGE/said"; return 1; }; }
install_everywhere() {
  local name
  for name in $HOSTS; do apt_install "$name" /mnt/deb/old.deb || return 1; done
  on n1 dpkg-query -W raftbank
}
nothing_runs_by_itself() {
  local name
  for name in $HOSTS; do
    [ -z "$(on "$name" systemctl list-units --plain --no-legend --state=active,failed,activating 'raftbank*')" ] || { echo "$name"; return 1; }
    refused on "$name" systemctl is-enabled --quiet raftbankd 2>/dev/null || { echo "$name enabled"; return 1; }
  done
}
# systemd-analyze exits with 0 for unknown keys and bad values, and only warns.
units_are_clean() {
  local said
  # shellcheck disable=SC2086 # a list
  said=$(on n1 systemd-analyze verify --man=no $UNITS raftbank.target 2>&1) && [ -z "$said" ] || { echo "$said"; return 1; }
}
hardening_of() {
  local said
  said=$(on n1 systemd-analyze security --no-pager --threshold=20 "$1" 2>&1) || { echo "$said" | grep '✗'; echo "$said" | tail -n 1; return 1; }
  echo "$said" | sed -n 's/.*Overall exposure level[^:]*: *//p'
}
configure() {
  local name salt; salt=$(head -c 16 /dev/urandom | base64)
  on relay sed -i 's|^listen = .*|listen = "0.0.0.0:7400"|' /etc/raftbank/relayd.toml || return 1
  for name in $NODES; do
    on "$name" sed -i "s|^id = .*|id = \"$name\"|; s|/raftbank/n1\"|/raftbank/$name\"|; s|^address = .*|address = \"10.77.0.10:7400\"|" \
      /etc/raftbank/raftbankd.toml || return 1
    on "$name" sed -i "s|^salt = .*|salt = \"$salt\"|" /etc/raftbank/genesis.toml || return 1
    on "$name" raftbankd --check-config >"$STAGE/said" 2>&1 || { cat "$STAGE/said"; return 1; }
  done
}
# A start that cannot succeed ends at once, with the unit's result and without another try.
fails_without_retry() {
  local at=$1 code=$2
  refused on "$at" systemctl start raftbankd 2>/dev/null || { echo "it started"; return 1; }
  sleep 1 # five times RestartSec
  [ "$(property "$at" raftbankd ExecMainStatus)" = "$code" ] || { echo "exit $(property "$at" raftbankd ExecMainStatus)"; return 1; }
  [ "$(property "$at" raftbankd NRestarts)" = 0 ] || { echo "it was tried again"; return 1; }
  [ "$(property "$at" raftbankd ActiveState)" = failed ] || { property "$at" raftbankd ActiveState; return 1; }
  on "$at" systemctl reset-failed raftbankd
}
init_all() {
  local name
  for name in $NODES; do
    on "$name" runuser -u raftbank -- raftbankd --init >"$STAGE/said" 2>&1 || { cat "$STAGE/said"; return 1; }
  done
}
start_all() {
  local name since pids=""; since=$(milliseconds)
  on relay systemctl enable --now --quiet raftbank-relayd || return 1
  for name in $NODES; do on "$name" systemctl enable --now --quiet raftbankd & pids="$pids $!"; done
  for pid in $pids; do wait "$pid" || return 1; done
  echo "ready after $(($(milliseconds) - since)) ms"
  until_true all_serve
}
# From `systemctl start` to ready, of one node of a bank that runs: ten times.
start_to_ready() {
  local at; at=$(follower) || return 1
  for _ in $(seq 10); do
    on "$at" systemctl stop raftbankd || return 1
    on "$at" sh -c 'a=$(date +%s%N); systemctl start raftbankd && b=$(date +%s%N) && echo $(((b - a) / 1000000))' || return 1
  done | median
}
status_line_says() {
  local said; said=$(property "$1" "$2" StatusText)
  case $said in *$3*) echo "$said" ;; *) echo "\"$said\" has no \"$3\""; return 1 ;; esac
}
runs_unprivileged() {
  local name=$1 unit=$2 pid
  pid=$(property "$name" "$unit" MainPID)
  on "$name" sh -c "[ \$(stat -c %U /proc/$pid) = raftbank ] && grep -q 'NoNewPrivs:.1' /proc/$pid/status && grep -q 'CapBnd:.0*$' /proc/$pid/status"
}
folders_are_private() {
  local said
  said=$(on n1 stat -c '%a %U %G %n' /var/lib/raftbank /run/raftbank /run/raftbank/raftbankd.sock /var/lib/raftbank/n1/key)
  [ "$said" = $'750 raftbank raftbank /var/lib/raftbank\n750 raftbank raftbank /run/raftbank\n660 raftbank raftbank /run/raftbank/raftbankd.sock\n600 raftbank raftbank /var/lib/raftbank/n1/key' ] ||
    { echo "$said"; return 1; }
}
only_the_group_may_ask() {
  on n1 useradd -G raftbank teller && on n1 useradd stranger || return 1
  on n1 runuser -u teller -- bankctl status >/dev/null || { echo "a member of the group cannot ask"; return 1; }
  refused on n1 runuser -u stranger -- bankctl status >"$STAGE/said" 2>&1 || { echo "a stranger may ask"; return 1; }
  grep -q "usermod -a -G raftbank" "$STAGE/said" || { cat "$STAGE/said"; return 1; }
}
# Priorities and fields, not only lines: the journal knows an error from a remark, and the term of a change of roles.
journal_has_fields() {
  on n1 journalctl -u raftbankd -o json --no-pager >"$STAGE/journal" || return 1
  grep -q '"PRIORITY":"6"' "$STAGE/journal" && grep -q '"RAFTBANK_TERM"' "$STAGE/journal" && grep -q '"SYSLOG_IDENTIFIER":"raftbankd"' "$STAGE/journal" ||
    { tail -n 3 "$STAGE/journal"; return 1; }
}
reload() {
  local at=$1 unit=$2 pid; pid=$(property "$at" "$unit" MainPID)
  on "$at" systemctl reload "$unit" && [ "$(property "$at" "$unit" MainPID)" = "$pid" ] && on "$at" systemctl is-active --quiet "$unit"
}
# Both units share /run/raftbank.
relay_beside_node_stops() {
  on n1 systemctl start raftbank-relayd && on n1 test -S /run/raftbank/relayd.sock || return 1
  on n1 systemctl stop raftbank-relayd && serves n1
}
target_stops_and_starts() {
  # systemctl waits for the target, not for what it takes along.
  stopped() { [ "$(property n2 raftbankd ActiveState)" = inactive ]; }
  on n2 systemctl stop raftbank.target && until_true stopped >/dev/null || { property n2 raftbankd ActiveState; return 1; }
  on n2 systemctl start raftbank.target && until_true serves n2
}
money_moves() {
  local number
  for number in 1 2 3 4 5; do ctl n1 transfer alice bob 1 --id "first-$number" >/dev/null || return 1; done
  for name in $NODES; do [ "$(balance "$name" bob)" = 105 ] || { echo "bob on $name: $(balance "$name" bob)"; return 1; }; done
}
doctor_is_content() {
  local name
  for name in $NODES; do
    on "$name" bankctl doctor >"$STAGE/said" 2>&1 || { cat "$STAGE/said"; return 1; }
  done
}
# What a bug report needs, from a real journal and real units, and no secret of it.
bundle_holds_no_secrets() {
  local folder; folder=$(host root n1)/root/bundle
  on n1 bankctl debug bundle --out /root/bundle.tar.gz >"$STAGE/said" 2>&1 || { cat "$STAGE/said"; return 1; }
  mkdir -p "$folder" && tar -xzf "$(host root n1)/root/bundle.tar.gz" -C "$folder" || return 1
  grep -rq "role changed" "$folder" || { echo "no journal in it"; cat "$folder"/*/MANIFEST.txt "$folder"/MANIFEST.txt; return 1; }
  for secret in "$(sed -n 's/^salt = "\(.*\)"/\1/p' "$(host root n1)/etc/raftbank/genesis.toml")" "$(tr -d '\n' <"$(disk n1)/n1/key")" alice; do
    refused grep -rqF -- "$secret" "$folder" || { echo "\"$secret\" is in $(grep -rlF -- "$secret" "$folder" | head -n 1)"; return 1; }
  done
  find "$folder" -type f | wc -l
}
unconfigured_status_helps() {
  refused on n1 bankctl status >"$STAGE/said" 2>&1 || return 1
  grep -q "/etc/raftbank/" "$STAGE/said" || { cat "$STAGE/said"; return 1; }
  tail -n 1 "$STAGE/said"
}

install_suite() {
  part install
  must "packages are built" build_packages
  check "lintian has nothing to say" lintian_is_silent
  must "the image of the hosts" timeout 1200 "$HOST" image
  must "four hosts boot" boot
  must "the package is installed" install_everywhere
  check "nothing runs by itself" nothing_runs_by_itself
  check "systemd has nothing to say against the units" units_are_clean
  for unit in $UNITS; do check "exposure of $unit" hardening_of "$unit"; done
  [ -n "$OLD" ] || check "status on a host where nothing is configured" unconfigured_status_helps
  must "the configuration is edited and holds" configure
  check "without a data folder the node fails once, with 2" fails_without_retry n1 2
  must "init, as the service's user" init_all
  check "init twice is refused" refused on n1 runuser -u raftbank -- raftbankd --init
  must "all services start" start_all
  check "money moves" money_moves
  check "from start to ready" start_to_ready
  check "the node runs as raftbank, without privileges" runs_unprivileged n1 raftbankd
  check "the relay runs as raftbank, without privileges" runs_unprivileged relay raftbank-relayd
  check "the node reloads" reload n1 raftbankd
  check "the relay reloads" reload relay raftbank-relayd
  check "a relay beside a node is stopped, the node's socket stays" relay_beside_node_stops
  check "the target stops and starts" target_stops_and_starts
  # What an older package need not have.
  [ -z "$OLD" ] || return 0
  check "its folders are its own" folders_are_private
  check "the status line" status_line_says n1 raftbankd "term"
  check "the relay's status line" status_line_says relay raftbank-relayd "all 3 members"
  check "only the group may ask" only_the_group_may_ask
  check "the journal has priorities and fields" journal_has_fields
  check "bankctl doctor finds nothing" doctor_is_content
  check "the debug bundle holds the journal and no secrets" bundle_holds_no_secrets
}
