# shellcheck shell=bash
# One host after the other gets a package with a higher version, under load; a downgrade that cannot work is refused.

upgrade_one() {
  local name=$1 unit pid
  unit=$(unit_of "$name")
  pid=$(property "$name" "$unit" MainPID)
  apt_install "$name" /mnt/deb/new.deb || return 1
  [ "$(on "$name" dpkg-query -W raftbank | cut -f2)" = "$(dpkg-deb -f "$STAGE/deb/new.deb" Version)" ] || { echo "$name: not upgraded"; return 1; }
  [ "$(property "$name" "$unit" MainPID)" != "$pid" ] && on "$name" systemctl is-active --quiet "$unit" || { echo "$name: not restarted"; return 1; }
  # The program that runs is the one that was installed.
  on "$name" sh -c "[ \$(readlink /proc/$(property "$name" "$unit" MainPID)/exe) -ef /usr/bin/$unit ]" || { echo "$name runs another file"; return 1; }
}
rolling_upgrade() {
  local name since
  # shellcheck disable=SC2086 # a list
  load_start $NODES
  sleep 0.5
  since=$(milliseconds)
  for name in $HOSTS; do upgrade_one "$name" && until_true all_serve >"$STAGE/said" || { cat "$STAGE/said"; return 1; }; done
  load_stop && load_sum || return 1
  echo "    from $(dpkg-deb -f "$STAGE/deb/old.deb" Version) to $(dpkg-deb -f "$STAGE/deb/new.deb" Version); longest time without service: $(gap "$since") ms"
}
configuration_is_kept() { on n1 grep -q '^address = "10.77.0.10:7400"' /etc/raftbank/raftbankd.toml; }
downgrade_is_refused() {
  local pid before; pid=$(property n2 raftbankd MainPID)
  before=$(on n2 sha256sum /usr/bin/raftbankd)
  refused on n2 env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --allow-downgrades /mnt/deb/toolow.deb >"$STAGE/said" 2>&1 || { echo "it was installed"; return 1; }
  grep "raftbank: the data in /var/lib/raftbank/n2 has format" "$STAGE/said" || { cat "$STAGE/said"; return 1; }
  [ "$(property n2 raftbankd MainPID)" = "$pid" ] && [ "$(on n2 sha256sum /usr/bin/raftbankd)" = "$before" ] || { echo "something was changed"; return 1; }
  on n2 dpkg -s raftbank >"$STAGE/said" 2>&1 && grep -qx "Status: install ok installed" "$STAGE/said" || { cat "$STAGE/said"; return 1; }
  serves n2 || { echo "n2 does not serve"; return 1; }
}
# A program that meets data of a later format says so and leaves every byte as it is.
newer_data_is_refused() {
  local before folder; folder=$(disk n2)/n2
  on n2 systemctl stop raftbankd || return 1
  cp -a "$folder/meta" "$STAGE/meta" || return 1
  # Format 99, and the checksum of all before it at the end.
  python3 -c 'import struct, sys, zlib
meta = bytearray(open(sys.argv[1], "rb").read())
meta[8:12] = struct.pack(">I", 99)
meta[-4:] = struct.pack(">I", zlib.crc32(meta[:-4]))
open(sys.argv[1], "wb").write(meta)' "$folder/meta" || return 1
  before=$(fingerprint "$folder")
  refused on n2 systemctl start raftbankd 2>/dev/null || { echo "it started"; return 1; }
  [ "$(property n2 raftbankd ExecMainStatus)" = 2 ] || { property n2 raftbankd ExecMainStatus; return 1; }
  [ "$(fingerprint "$folder")" = "$before" ] || { echo "data was changed"; return 1; }
  on n2 journalctl -t raftbankd -p err -n 1 -o cat --no-pager
  cp -a "$STAGE/meta" "$folder/meta" && on n2 systemctl reset-failed raftbankd && on n2 systemctl start raftbankd && until_true serves n2
}
fingerprint() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }

upgrade_suite() {
  check "a rolling upgrade under load" rolling_upgrade
  check "the configuration is kept" configuration_is_kept
  check "a downgrade to programs that cannot read the data is refused" downgrade_is_refused
  check "data of a later format is refused" newer_data_is_refused
  check "nothing is lost" nothing_lost n1
  check "every node's books verify" verify_all
}
