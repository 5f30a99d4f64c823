# shellcheck shell=bash
# Remove and purge: the books stay until somebody removes them by name.

apt_away() { on "$1" env DEBIAN_FRONTEND=noninteractive apt-get "$2" -y -q raftbank >"$STAGE/said" 2>&1 || { cat "$STAGE/said"; return 1; }; }
removal_keeps_books() {
  apt_away n1 remove || return 1
  on n1 sh -c '! command -v raftbankd && ! systemctl is-active --quiet raftbankd && ! pgrep raftbankd && [ -d /var/lib/raftbank/n1 ] && [ -f /etc/raftbank/genesis.toml ]'
}
installed_again_it_goes_on() { apt_install n1 /mnt/deb/new.deb && on n1 systemctl start raftbankd && until_true serves n1; }
purge_keeps_books() {
  apt_away n1 purge || return 1
  grep -q "the books in /var/lib/raftbank are kept" "$STAGE/said" || { cat "$STAGE/said"; return 1; }
  on n1 sh -c 'for left in /etc/raftbank /run/raftbank /var/log/raftbank /usr/bin/bankctl /usr/share/doc/raftbank /usr/lib/sysusers.d/raftbank.conf \
      /etc/systemd/system/multi-user.target.wants/raftbankd.service; do
      if [ -e $left ] || [ -L $left ]; then echo "$left is still there"; exit 1; fi; done; [ -f /var/lib/raftbank/n1/meta ]'
}
purge_without_books_leaves_nothing() {
  apt_away relay purge || return 1
  on relay sh -c 'for left in /etc/raftbank /var/lib/raftbank /run/raftbank /usr/bin/bankctl; do if [ -e $left ]; then echo "$left is still there"; exit 1; fi; done'
}

removal_suite() {
  check "removal stops the node and keeps books and configuration" removal_keeps_books
  check "installing again finds them" installed_again_it_goes_on
  check "purge keeps the books" purge_keeps_books
  check "purge of a host without a node leaves nothing" purge_without_books_leaves_nothing
  check "a host shuts down" host poweroff n3
}
