# shellcheck shell=bash
# What all parts of the suite use: checks, waiting, hosts, money, load. Sourced by `run`.

BOUND=30 # seconds that anything may take to be back
NODES="n1 n2 n3"
HOSTS="relay $NODES"
passed=0 failed=0

host() { timeout 180 "$HOST" "$@" 9>&-; }
# on NAME CMD...: a command on a host. What it says is bounded in time, not in words.
on() { host run "$@"; }
ctl() { local at=$1; shift; on "$at" bankctl -o json "$@"; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
property() { on "$1" systemctl show --value -p "$3" "$2"; }
unit_of() { if [ "$1" = relay ]; then echo raftbank-relayd; else echo raftbankd; fi; }

# What the hosts said, for whoever looks into a failure.
logs() {
  local name
  for name in $HOSTS; do
    echo "-- $name"
    host root "$name" >/dev/null 2>&1 || { echo "(down)"; continue; }
    on "$name" journalctl --no-pager -q -n 15 -o cat -u 'raftbank*' 2>&1
  done
}

# check WHAT CMD...: a test that passes if CMD succeeds.
check() {
  local what=$1 output
  shift
  if output=$("$@" 2>&1); then
    passed=$((passed + 1)); echo "ok      $what${output:+: $output}"
  else
    failed=$((failed + 1)); echo "FAILED  $what${output:+: $output}"
    [ $failed != 1 ] || logs # of the first failure; what comes later is often its consequence
  fi
}
# As check, for what all that follows needs.
must() {
  local before=$failed
  check "$@"
  if [ "$failed" != "$before" ]; then finish; fi
}
finish() {
  echo "$passed passed, $failed failed"
  if [ $failed = 0 ]; then exit 0; else exit 1; fi
}
part() { printf -- '-- %s (%s s)\n' "$1" $((SECONDS - started)); }

# until_true CMD...: CMD succeeds within the bound; prints after how many milliseconds.
until_true() {
  local since; since=$(milliseconds)
  while ! "$@" >/dev/null 2>&1; do
    if [ $(($(milliseconds) - since)) -gt $((BOUND * 1000)) ]; then "$@"; echo "not within $BOUND s"; return 1; fi
    sleep 0.05
  done
  echo "after $(($(milliseconds) - since)) ms"
}
refused() { if "$@"; then return 1; fi; }
median() { sort -n | awk '{ n[NR] = $1 } END { if (NR == 0) exit 1; m = int((NR + 1) / 2); printf "median %d ms of %d (%d to %d)\n", n[m], NR, n[1], n[NR] }'; }

# --- money

# balance AT ACCOUNT: linearizable, so it also shows that a majority is there.
balance() { ctl "$1" balance "$2" | sed -n 's/.*"balance": *"\{0,1\}\(-\{0,1\}[0-9]*\).*/\1/p' | head -n 1; }
local_balance() { ctl "$1" balance "$2" --local | sed -n 's/.*"balance": *"\{0,1\}\(-\{0,1\}[0-9]*\).*/\1/p' | head -n 1; }
serves() { [ -n "$(balance "$1" carol)" ]; }
all_serve() { local name; for name in $NODES; do serves "$name" || { echo "$name"; return 1; }; done; }
leader() {
  local name said
  for name in $NODES; do
    said=$(ctl "$name" status 2>/dev/null | tr -d ' \n') && case $said in *'"role":"leader"'*) echo "$name"; return 0 ;; esac
  done
  return 1
}
follower() { local name at; at=$(leader) || return 1; for name in $NODES; do if [ "$name" != "$at" ]; then echo "$name"; return; fi; done; }
condition() { ctl "$1" status | tr -d ' \n' | sed -n 's/.*"condition":"\([^"]*\)".*/\1/p'; }
verify_all() {
  local name
  for name in $NODES; do ctl "$name" verify >"$STAGE/said" 2>&1 || { echo "$name: $(cat "$STAGE/said")"; return 1; }; done
}
all_active() {
  local name
  for name in $HOSTS; do on "$name" systemctl is-active --quiet "$(unit_of "$name")" || { echo "$name"; return 1; }; done
}
up_again() { host up "$1" "$(octet "$1")" "--bind-ro=$STAGE:/mnt" "--bind=$(disk "$1"):/var/lib/raftbank"; }
octet() { case $1 in relay) echo 10 ;; n*) echo $((10 + ${1#n})) ;; esac; }

# --- load: clients that move money one after the other, each request asked again with its id until its time is up

# load_start NAME...: one client on each host. load_stop ends them and waits for their last answers.
load_start() {
  local name
  # Checks run in shells of their own: the number of the load, which is part of its ids, comes from a file.
  load_number=$(($(cat "$STAGE/loads" 2>/dev/null || echo 0) + 1))
  echo "$load_number" >"$STAGE/loads"
  loads=""
  for name in "$@"; do
    rm -f "$(host root "$name")/run/load.stop"
    on "$name" /mnt/load "$name-$load_number" >"$STAGE/load.$name-$load_number" 2>&1 & loads="$loads $!:$name"
  done
}
load_stop() {
  local load
  for load in $loads; do on "${load#*:}" touch /run/load.stop || return 1; done
  for load in $loads; do wait "${load%%:*}" || { echo "a client on ${load#*:} ended with $?"; return 1; }; done
}
# load_sum: what the clients of the last load saw: lines "ID START END TRIES" are acknowledged, all others are failures.
load_sum() {
  local bad acknowledged
  cat "$STAGE"/load.*-"$load_number" >"$STAGE/acks"
  bad=$(grep -cv '^[a-z0-9-]* [0-9]* [0-9]* [0-9]*$' "$STAGE/acks")
  acknowledged=$(wc -l <"$STAGE/acks")
  if [ "$bad" != 0 ]; then echo "$bad of $acknowledged failed, such as: $(grep -v '^[a-z0-9-]* [0-9]* [0-9]* [0-9]*$' "$STAGE/acks" | head -n 1)"; return 1; fi
  [ "$acknowledged" -gt 0 ] || { echo "no transfer at all"; return 1; }
  cut -d' ' -f1 "$STAGE/acks" >>"$STAGE/acknowledged"
  awk -v n="$acknowledged" '{ d = $3 - $2; if (d > m) m = d; if ($4 > 1) again++ }
    END { printf "%d transfers, %d asked more than once, the longest took %d ms\n", n, again, m }' "$STAGE/acks"
}
# gap SINCE: the longest time without an acknowledgement from there on, in milliseconds.
gap() {
  cat "$STAGE"/load.*-"$load_number" | awk 'NF == 4 { print $3 }' | sort -n |
    awk -v since="$1" '$1 >= since - 1000 { if (last && $1 - last > most && $1 > since) most = $1 - last; last = $1 } END { print most + 0 }'
}
# Nothing acknowledged may be missing: every id that any client saw committed is in the chain, exactly once.
nothing_lost() {
  local at=$1 lost
  [ -s "$STAGE/acknowledged" ] || { echo "nothing was acknowledged"; return 1; }
  on "$at" bankctl export >"$STAGE/chain" || return 1
  grep -o '"id":"[^"]*"' "$STAGE/chain" | cut -d'"' -f4 | sort >"$STAGE/ids"
  [ -z "$(uniq -d "$STAGE/ids")" ] || { echo "twice in the chain: $(uniq -d "$STAGE/ids" | head -n 1)"; return 1; }
  lost=$(sort -u "$STAGE/acknowledged" | comm -23 - "$STAGE/ids" | wc -l)
  [ "$lost" = 0 ] || { echo "$lost acknowledged transfers are not in the chain"; return 1; }
  echo "$(sort -u "$STAGE/acknowledged" | wc -l) acknowledged, all in the chain, none twice"
}
