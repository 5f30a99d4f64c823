# shellcheck shell=bash
# Several nodes on one host, each an instance of raftbankd@ with a user of its own.

solo() { on solo "$@"; }
solo_up() {
  host up solo 20 "--bind-ro=$STAGE:/mnt" && [ "$(host wait solo)" = running ] && apt_install solo /mnt/deb/new.deb
}
solo_start() {
  local name
  solo sed -i 's|^salt = .*|salt = "solo"|' /etc/raftbank/genesis.toml || return 1
  for name in $NODES; do solo systemctl start "raftbankd-init@$name" || { solo journalctl -n 5 -o cat -u "raftbankd-init@$name"; return 1; }; done
  # shellcheck disable=SC2046 # a list
  solo systemctl enable --now --quiet raftbank-relayd $(printf 'raftbankd@%s ' $NODES) || return 1
  until_true solo_serves n1
}
solo_ctl() { local at=$1; shift; solo bankctl -o json --socket "/run/raftbank/$at/raftbankd.sock" "$@"; }
solo_serves() { solo_ctl "$1" balance alice >/dev/null; }
users_of_their_own() {
  local name users user
  users=$(for name in $NODES; do solo stat -c %u "/proc/$(property solo "raftbankd@$name" MainPID)"; done | sort -u | wc -l)
  [ "$users" = 3 ] || { echo "$users users"; return 1; }
  # None reads another's key, not even with the group that all have in common. A dynamic user has no name outside.
  user=$(solo stat -c %u "/proc/$(property solo raftbankd@n1 MainPID)")
  key_from_inside() { solo nsenter -t "$(property solo "raftbankd@$1" MainPID)" -m setpriv --reuid "$user" --regid "$(solo stat -c %g /run/raftbank)" --clear-groups cat "$2" 2>/dev/null | grep -q ^PRIVATE; }
  key_from_inside n1 /var/lib/raftbank-n1/n1/key || { echo "n1's user $user cannot read its own key"; return 1; }
  refused key_from_inside n1 /var/lib/raftbank-n2/n2/key || { echo "n1's user reads the key of n2"; return 1; }
  refused key_from_inside n2 /var/lib/raftbank-n2/n2/key || { echo "n1's user reads the key of n2, from inside"; return 1; }
}
one_stops_the_others_stay() {
  solo systemctl stop raftbankd@n2 raftbank-relayd && solo test -S /run/raftbank/n1/raftbankd.sock && solo test -S /run/raftbank/n3/raftbankd.sock || return 1
  solo systemctl start raftbank-relayd && until_true solo_serves n3 || return 1
  solo systemctl start raftbankd@n2 && until_true solo_serves n2
}
instances_are_killed() {
  local name
  for name in $NODES; do
    kill_one solo "raftbankd@$name" && until_true solo_serves "$name" >/dev/null || { echo "$name"; return 1; }
  done
}
instance_rejoins() {
  solo systemctl stop raftbankd@n3 && solo rm -r /var/lib/raftbank-n3/n3 || return 1
  solo systemctl start raftbankd-rejoin@n3 || { solo journalctl -n 5 -o cat -u raftbankd-rejoin@n3; return 1; }
  solo systemctl start raftbankd@n3 && until_true solo_serves n3
}
group_uses_instances() {
  solo useradd -G raftbank teller && solo runuser -u teller -- bankctl --socket /run/raftbank/n1/raftbankd.sock status >/dev/null
}
instances_are_restarted_by_an_upgrade() {
  local pid; pid=$(property solo raftbankd@n1 MainPID)
  apt_install solo --reinstall /mnt/deb/new.deb || return 1
  [ "$(property solo raftbankd@n1 MainPID)" != "$pid" ] || { echo "n1 is the same process"; return 1; }
  until_true solo_serves n1
}
solo_target() {
  solo systemctl stop raftbank.target || return 1
  nothing_runs() { [ -z "$(solo systemctl list-units --plain --no-legend --state=active,deactivating 'raftbank*.service')" ]; }
  until_true nothing_runs >/dev/null || { echo "something still runs"; return 1; }
  solo systemctl start raftbank.target && until_true solo_serves n1
}
solo_reboot() {
  host poweroff solo && host up solo 20 "--bind-ro=$STAGE:/mnt" && [ "$(host wait solo)" = running ] && until_true solo_serves n1
}

solo_purge() {
  apt_away solo purge || return 1
  solo sh -c 'for left in /etc/raftbank /run/raftbank /var/log/raftbank-n1 /var/log/private/raftbank-n1 /etc/systemd/system/multi-user.target.wants/raftbankd@n1.service; do
      if [ -e $left ] || [ -L $left ]; then echo "$left is still there"; exit 1; fi; done; [ -f /var/lib/private/raftbank-n1/n1/meta ]'
}

several_suite() {
  must "a fifth host" solo_up
  must "a relay and three nodes on it" solo_start
  check "each node is a user of its own" users_of_their_own
  check "the group may use them" group_uses_instances
  check "one stops, the others' sockets stay" one_stops_the_others_stay
  check "each is killed and comes back" instances_are_killed
  check "one loses its disk and rejoins" instance_rejoins
  check "an upgrade restarts them" instances_are_restarted_by_an_upgrade
  check "the target stops and starts them all" solo_target
  check "they are back after a boot" solo_reboot
  check "a purge keeps their books and nothing else" solo_purge
  check "the host shuts down" host poweroff solo
}
