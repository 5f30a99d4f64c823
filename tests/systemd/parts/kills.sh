# shellcheck shell=bash
# Processes that are killed or hang, hosts that crash, lose power or boot, all under load.

# kill_one AT UNIT: SIGKILL; systemd starts another process by itself.
kill_one() {
  local at=$1 unit=$2 restarts pid
  restarts=$(property "$at" "$unit" NRestarts) pid=$(property "$at" "$unit" MainPID)
  on "$at" systemctl kill -s KILL "$unit" || return 1
  returned() { [ "$(property "$at" "$unit" NRestarts)" -gt "$restarts" ] && on "$at" systemctl is-active --quiet "$unit"; }
  until_true returned >"$STAGE/said" || { cat "$STAGE/said"; return 1; }
  [ "$(property "$at" "$unit" MainPID)" != "$pid" ] || { echo "the same process?"; return 1; }
}
# The clients ask on, at least once each.
settle() { until_true all_serve >"$STAGE/said" || { cat "$STAGE/said"; return 1; }; sleep 0.5; }

# ten_times WHICH: WHICH prints "AT UNIT"; prints the time without service, and what the clients saw.
ten_times() {
  local which=$1 since at unit gaps=""
  # shellcheck disable=SC2086 # a list
  load_start $NODES
  for _ in $(seq 10); do
    sleep 0.3
    read -r at unit <<<"$($which)"
    since=$(milliseconds)
    kill_one "$at" "$unit" || return 1
    settle || return 1
    gaps="$gaps $(gap "$since")"
  done
  load_stop || return 1
  load_sum || return 1
  # shellcheck disable=SC2086 # a list
  echo "    without service: $(printf '%s\n' $gaps | median)"
}
the_leader() { echo "$(leader) raftbankd"; }
a_follower() { echo "$(follower) raftbankd"; }
the_relay() { echo "relay raftbank-relayd"; }

pids() { local name; for name in $HOSTS; do echo "$name $(property "$name" "$(unit_of "$name")" MainPID)"; done; }
kill_all() {
  local name since before jobs=""
  # shellcheck disable=SC2086 # a list
  load_start $NODES
  sleep 0.5
  before=$(pids)
  since=$(milliseconds)
  for name in $HOSTS; do on "$name" systemctl kill -s KILL "$(unit_of "$name")" & jobs="$jobs $!"; done
  for job in $jobs; do wait "$job" || return 1; done
  all_new() { [ -z "$(comm -12 <(echo "$before" | sort) <(pids | sort))" ]; }
  until_true all_new >"$STAGE/said" || { cat "$STAGE/said"; return 1; }
  settle && load_stop && load_sum || return 1
  echo "    without service: $(gap "$since") ms"
}
# hang AT UNIT: a process that does nothing any more is ended by its watchdog and started again.
hang() {
  local at=$1 unit=$2 restarts pid since
  restarts=$(property "$at" "$unit" NRestarts) pid=$(property "$at" "$unit" MainPID)
  since=$(milliseconds)
  on "$at" kill -STOP "$pid" || return 1
  returned() { [ "$(property "$at" "$unit" NRestarts)" -gt "$restarts" ] && on "$at" systemctl is-active --quiet "$unit"; }
  until_true returned >"$STAGE/said.$at" || { cat "$STAGE/said.$at"; return 1; }
  on "$at" journalctl -u "$unit" --no-pager -o cat --since "@$((since / 1000))" | grep "Watchdog timeout" >/dev/null || { echo "not by the watchdog"; return 1; }
  echo "$at restarted after $(($(milliseconds) - since)) ms; "
}
hang_leader_and_relay() {
  local at=$1
  hang "$at" raftbankd & local one=$!
  hang relay raftbank-relayd || return 1
  wait "$one" || return 1
  until_true all_serve
}
hang_leader() { hang "$(leader)" raftbankd && until_true all_serve; }

# Loading may take longer than the unit allows for a start, as long as it gets on: here the node needs three seconds to say
# that there is no leader, one more than it has.
slow_start_is_waited_for() {
  local at=$1
  on relay systemctl stop raftbank-relayd && on "$at" systemctl stop raftbankd || return 1
  on "$at" mkdir -p /run/systemd/system/raftbankd.service.d || return 1
  printf '[Service]\nTimeoutStartSec=2s\n' >"$(host root "$at")/run/systemd/system/raftbankd.service.d/short.conf"
  on "$at" systemctl daemon-reload && on "$at" systemctl start raftbankd || { echo "it was not waited for"; return 1; }
  [ "$(property "$at" raftbankd NRestarts)" = 0 ] || { echo "it was ended and started again"; return 1; }
  property "$at" raftbankd StatusText
  on "$at" rm -r /run/systemd/system/raftbankd.service.d && on "$at" systemctl daemon-reload && on relay systemctl start raftbank-relayd || return 1
  until_true all_serve
}

crash_host() {
  local since name=$1
  load_start n1
  sleep 0.3
  host crash "$name" || return 1
  since=$(milliseconds)
  sleep 0.5
  up_again "$name" && [ "$(host wait "$name")" = running ] || return 1
  echo -n "booted after $(($(milliseconds) - since)) ms, "
  until_true serves "$name" || return 1
  load_stop && load_sum
}
# The disk forgets what was not synced, then the host is gone.
power_cut() {
  local name=$1 since
  load_start n1
  sleep 0.3
  disk_power_off "$name" && host crash "$name" || return 1
  disk_unmount "$name" && disk_mount "$name" || return 1
  since=$(milliseconds)
  up_again "$name" && [ "$(host wait "$name")" = running ] || return 1
  echo -n "booted after $(($(milliseconds) - since)) ms, "
  until_true serves "$name" || return 1
  load_stop && load_sum
}
power_cut_of_all() {
  local name since
  for name in $NODES; do disk_power_off "$name" || return 1; done
  for name in $NODES; do host crash "$name" || return 1; done
  for name in $NODES; do disk_unmount "$name" && disk_mount "$name" || return 1; done
  since=$(milliseconds)
  for name in $NODES; do up_again "$name" || return 1; done
  until_true all_serve
}
reboot_all() {
  local name since pids=""
  for name in $HOSTS; do host poweroff "$name" & pids="$pids $!"; done
  for pid in $pids; do wait "$pid" || return 1; done
  since=$(milliseconds)
  host up relay 10 "--bind-ro=$STAGE:/mnt" || return 1
  for name in $NODES; do up_again "$name" || return 1; done
  until_true all_serve >"$STAGE/said" || { cat "$STAGE/said"; return 1; }
  echo "the bank serves $(($(milliseconds) - since)) ms after power is back"
}

kills_suite() {
  check "the leader is killed, ten times" ten_times the_leader
  check "a follower is killed, ten times" ten_times a_follower
  check "the relay is killed, ten times" ten_times the_relay
  check "all are killed at once" kill_all
  check "the relay and a follower hang" hang_leader_and_relay "$(follower)"
  check "the leader hangs" hang_leader
  check "a start that takes longer is waited for" slow_start_is_waited_for "$(follower)"
  check "a host crashes" crash_host n2
  check "a host loses power, and what its disk had not synced" power_cut n3
  check "all nodes lose power" power_cut_of_all
  check "all hosts boot at once, without a hand" reboot_all
  check "nothing is lost" nothing_lost n1
  check "every node's books verify" verify_all
  check "all services are active" all_active
}
