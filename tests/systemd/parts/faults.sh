# shellcheck shell=bash
# One host's disk is full, read-only or gone, or its clock is wrong: it steps aside and says so, the others serve.

ended_with_7() { [ "$(property "$1" raftbankd ExecMainStatus)" = 7 ]; }
# doctor_finds AT CHECK: bankctl doctor says that this is a problem, and ends with 1.
doctor_finds() {
  local code; on "$1" bankctl -o json doctor >"$STAGE/said" 2>&1; code=$?
  [ "$code" = 1 ] || { echo "doctor ends with $code: $(cat "$STAGE/said")"; return 1; }
  python3 -c 'import json, sys
found = [f["check"] for f in json.load(open(sys.argv[1]))["findings"] if f["level"] == "problem"]
sys.exit(None if sys.argv[2] in found else f"problems: {found}")' "$STAGE/said" "$2"
}
# doctor_finds_down AT: it says that the unit is down, or that it is up at this moment, as between two ends of a node that
# has started and meets its disk later.
doctor_finds_down() {
  on "$1" bankctl -o json doctor >"$STAGE/said" 2>&1
  python3 -c 'import json, sys
unit = [f for f in json.load(open(sys.argv[1]))["findings"] if f["check"] == "unit.node"]
if not any(f["level"] == "problem" for f in unit):
    sys.exit(None if any(" is active (running)" in f["message"] for f in unit) else f"of the unit: {unit}")
print("down")' "$STAGE/said"
}
# The node ends with 7 and is tried again, but not several times a second; doctor finds that at each moment of it, between
# the tries as during one.
steps_aside() {
  local at=$1 since restarts said asked=0 down=0; since=$(milliseconds)
  until_true ended_with_7 "$at" >"$STAGE/said" || { cat "$STAGE/said"; property "$at" raftbankd ExecMainStatus; return 1; }
  echo -n "7 after $(($(milliseconds) - since)) ms; "
  restarts=$(property "$at" raftbankd NRestarts)
  since=$(milliseconds)
  while [ $(($(milliseconds) - since)) -lt 7000 ]; do
    said=$(doctor_finds_down "$at" 2>&1) || { echo "$said"; return 1; }
    asked=$((asked + 1)); [ "$said" != down ] || down=$((down + 1))
  done
  [ "$down" -ge 1 ] || { echo "doctor never found it down"; return 1; }
  restarts=$(($(property "$at" raftbankd NRestarts) - restarts))
  [ "$restarts" -ge 1 ] && [ "$restarts" -le 3 ] || { echo "$restarts tries in 7 s"; return 1; }
  echo "$restarts tries in 7 s, found by doctor $down times of $asked; \"$(on "$at" journalctl -t raftbankd -p err -n 1 -o cat --no-pager)\""
}
full_disk() {
  local at=$1 other=$2 writer
  load_start "$other"
  disk_fill "$at" || return 1
  # What is written must not fit into what the file has already.
  on "$other" sh -c 'n=0; while [ ! -e /run/put.stop ] && n=$((n + 1)) && [ $n -le 1000 ]; do
      bankctl put "full-$n" "$(head -c 45000 /dev/urandom | base64 -w0)" >/dev/null 2>&1; done' & writer=$!
  until_true ended_with_7 "$at" >/dev/null; on "$other" touch /run/put.stop
  steps_aside "$at" || return 1
  disk_empty "$at"
  until_true serves "$at" || return 1
  load_stop && wait "$writer" && load_sum
}
# Read-only from one moment to the next, as ext4 does it after an error of the device; a boot mends it.
disk_turns_readonly() {
  local at=$1 other=$2
  load_start "$other"
  mount -o remount,abort "$(disk "$at")" || return 1
  steps_aside "$at" || return 1
  host crash "$at" && disk_unmount "$at" && disk_mount "$at" && up_again "$at" && [ "$(host wait "$at")" != "" ] || return 1
  until_true serves "$at" || return 1
  load_stop && load_sum
}
# Read-only when the node starts, and writable again while it tries.
readonly_at_start() {
  local at=$1 other=$2
  load_start "$other"
  on "$at" systemctl stop raftbankd && mount -o remount,ro "$(disk "$at")" || return 1
  refused on "$at" systemctl start raftbankd 2>/dev/null || { echo "it started"; return 1; }
  steps_aside "$at" || return 1
  mount -o remount,rw "$(disk "$at")" || return 1
  until_true serves "$at" || return 1
  load_stop && load_sum
}
# An hour ahead: what this node alone believes.
wrong_clock() {
  local at=$1 other=$2
  mkdir -p "$STAGE/lib" && cp "$(faketime_library)" "$STAGE/lib/" && chmod -R a+rX "$STAGE/lib" || return 1
  on "$at" mkdir -p /run/systemd/system/raftbankd.service.d || return 1
  printf '[Service]\nEnvironment=LD_PRELOAD=/mnt/lib/libfaketime.so.1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 FAKETIME_DISABLE_SHM=1 FAKETIME_TIMESTAMP_FILE=/etc/raftbank/clock\n' \
    >"$(host root "$at")/run/systemd/system/raftbankd.service.d/clock.conf"
  echo "+3600s" >"$(host root "$at")/etc/raftbank/clock"
  load_start "$other"
  on "$at" systemctl daemon-reload && on "$at" systemctl restart raftbankd || return 1
  skewed() { [ "$(condition "$at")" = clock_skew ]; }
  until_true skewed || return 1
  case $(property "$at" raftbankd StatusText) in *clock_skew*) ;; *) property "$at" raftbankd StatusText; return 1 ;; esac
  doctor_finds "$at" clock.offset || return 1
  # The others are gone for a moment each, and still it does not lead: no block bears its time.
  on "$(leader)" systemctl restart raftbankd && until_true serves "$other" >/dev/null && [ "$(leader)" != "$at" ] || { echo "it leads"; return 1; }
  echo "+0" >"$(host root "$at")/etc/raftbank/clock"
  right() { [ -z "$(condition "$at")" ]; }
  until_true right || return 1
  on "$at" rm -r /run/systemd/system/raftbankd.service.d && on "$at" systemctl daemon-reload && on "$at" systemctl restart raftbankd || return 1
  load_stop && load_sum
}
# As docs/operating.md has it.
lose_disk() {
  on n3 systemctl stop raftbankd && host crash n3 && disk_unmount n3 && disk_make n3 && up_again n3 && [ "$(host wait n3)" != "" ] || return 1
  unit_failed() { [ "$(property n3 raftbankd ExecMainStatus)" = 2 ] && [ "$(property n3 raftbankd ActiveState)" = failed ]; }
  until_true unit_failed || return 1
  on n3 chown raftbank:raftbank /var/lib/raftbank && on n3 chmod 0750 /var/lib/raftbank
}
rejoin() {
  on n3 runuser -u raftbank -- raftbankd --init --rejoin || return 1
  on n3 systemctl reset-failed raftbankd && on n3 systemctl start raftbankd || return 1
  until_true serves n3 || return 1
  whole() { [ -z "$(condition n3)" ]; }
  until_true whole
}
same_money_on_n3() { [ "$(local_balance n3 alice)" = "$(balance n1 alice)" ]; }

faults_suite() {
  check "a follower's disk is full, is emptied, and it is back" full_disk n2 n1
  check "a disk turns read-only, the host boots, and it is back" disk_turns_readonly n3 n1
  check "a disk is read-only at the start, is writable, and it is back" readonly_at_start n3 n1
  check "a clock is wrong, is right, and it is back" wrong_clock n2 n1
  check "n3 has an empty disk and fails once, with 2" lose_disk
  check "it rejoins" rejoin
  check "it holds the same money" until_true same_money_on_n3
  check "it is killed and comes back, needing no rejoin" kill_one n3 raftbankd
  check "it serves" until_true serves n3
  check "nothing is lost" nothing_lost n3
  check "every node's books verify" verify_all
}
