#!/bin/bash
# Runs inside the container of systemd.sh, with a real systemd: what an operator does with the package, and what must
# come of it. Every request of the whole story must be answered, up to where the program is killed on purpose.
set -euo pipefail

unit=auto-ai-router.service
etc=/etc/auto-ai-router

fail() {
    echo "FAILED: $*"
    systemctl status --no-pager --lines 0 "$unit" || :
    journalctl --no-pager --output cat --unit "$unit" | grep -v '"request_id"' | tail -n 25
    exit 1
}

ok() { echo "$* ... ok"; }

is() { [ "$(systemctl show --value --property "$1" "$unit")" = "$2" ] || fail "$1 is $(systemctl show --value --property "$1" "$unit") and not $2"; }

of() { systemctl show --value --property "$1" "$unit"; }

ready() { curl -s -o /dev/null -m 2 --fail http://127.0.0.1:8080/health/ready; }

wait_for() {
    for _ in $(seq 150); do
        ! "$@" || return 0
        sleep 0.1
    done
    fail "waited in vain: $*"
}

has_state() { [ "$(of ActiveState)" = "$1" ]; }

processes() { pgrep -c -u auto-ai-router -f 'auto-ai-router.*run' || :; }

alone() { [ "$(processes)" = 1 ]; }

install_it() {
    dpkg -i /0.1.0-1.deb > /tmp/said 2>&1 || fail "dpkg: $(cat /tmp/said)"
    grep -q "installed, not started" /tmp/said || fail "$(cat /tmp/said)"
    is ActiveState inactive
    cp /usr/bin/auto-ai-router /tmp/demo
    systemd-run --quiet --unit demo --property StandardOutput=file:/tmp/demo.said /tmp/demo demo --port 8090
    wait_for grep -qo 'sk-demo-[0-9a-f]*' /tmp/demo.said
    echo "DEMO_KEY=$(grep -o 'sk-demo-[0-9a-f]*' /tmp/demo.said | head -n 1)" >> "$etc/environment"
    cat > "$etc/config.yaml" << 'END'
server:
  master_key: os.environ/MASTER_KEY
credentials:
  - name: demo
    type: proxy
    base_url: http://127.0.0.1:8090
    api_key: os.environ/DEMO_KEY
END
    key=$(sed -n 's/^MASTER_KEY=//p' "$etc/environment")
    systemctl enable --now --quiet "$unit" || fail "it does not start"
    ready || fail "systemctl start returned before it was ready"
    [ "$(stat -c '%a %U' /run/auto-ai-router /var/lib/auto-ai-router | sort -u)" = "700 auto-ai-router" ] || fail "directories"
    [ "$(stat -c '%a %U' /run/auto-ai-router/admin-8080.sock)" = "600 auto-ai-router" ] || fail "the admin socket"
    [ -n "$(of StatusText)" ] || fail "no status"
    ok "installed; started with its first ready; $(of StatusText)"
    systemd-analyze --no-pager security "$unit" | tail -n 1 | sed 's/^[^A-Za-z]*//'
}

ask() {
    while [ ! -e /tmp/enough ]; do
        curl -s -o /dev/null -m 20 -w '%{http_code}\n' http://127.0.0.1:8080/v1/chat/completions \
            -H "Authorization: Bearer $key" -H "Content-Type: application/json" \
            -d '{"model": "demo-echo", "messages": [{"role": "user", "content": "hello"}]}' >> /tmp/statuses || :
    done
}

listen() {
    curl -sN -m 60 http://127.0.0.1:8080/v1/chat/completions -H "Authorization: Bearer $key" \
        -H "Content-Type: application/json" \
        -d '{"model": "demo-slow", "stream": true, "messages": [{"role": "user", "content": "'"$(seq -s ' ' 40)"'"}]}' \
        > "$1" || :
}

finished() { grep -q '^data: \[DONE\]' "$1" || fail "a stream was cut: $(tail -n 3 "$1")"; }

reload_it() {
    before=$(of MainPID)
    sed -i 's/api_key: os.environ.DEMO_KEY/&\n    rpm: 60000/' "$etc/config.yaml"
    systemctl reload "$unit" || fail "a good file is refused"
    is MainPID "$before"
    echo "    no_such_key: 1" >> "$etc/config.yaml"
    ! systemctl reload "$unit" 2> /dev/null || fail "a bad file is taken"
    is ActiveState active
    is MainPID "$before"
    journalctl --no-pager --output cat --unit "$unit" | grep -q no_such_key || fail "the journal does not say what is wrong"
    ok "a good file is applied, a bad one refused and told in the journal"
}

# Installs a version while another one serves.
take_over() {
    before=$(of MainPID)
    dpkg -i "/$1.deb" > /tmp/said 2>&1 || fail "dpkg: $(cat /tmp/said)"
    grep -q "the new version serves" /tmp/said || fail "$(cat /tmp/said)"
    now=$(of MainPID)
    [ "$now" != "$before" ] || fail "the main process is the old one"
    [ "$(stat -Lc %i "/proc/$now/exe")" = "$(stat -c %i /usr/bin/auto-ai-router)" ] || fail "not the new program"
    is ActiveState active
}

upgrade_it() {
    dpkg -i /0.2.0-1.deb > /tmp/said 2>&1 || fail "dpkg: $(cat /tmp/said)"
    grep -q "installed, not activated" /tmp/said && grep -q "config.yaml:9:" /tmp/said || fail "$(cat /tmp/said)"
    is MainPID "$before"
    sed -i '/no_such_key/d' "$etc/config.yaml"
    listen /tmp/stream &
    listening=$!
    wait_for test -s /tmp/stream
    take_over 0.3.0-1
    wait "$listening"
    finished /tmp/stream
    wait_for alone
    take_over 0.2.0-1
    wait_for alone
    is NRestarts 0
    sleep 35 # the watchdog has its 30 s, and must find the new process alive
    is ActiveState active
    is MainPID "$now"
    ok "upgraded, and taken back; the watchdog is content; $(of StatusText)"
}

nothing_was_lost() {
    touch /tmp/enough
    wait "$asking"
    [ -z "$(grep -vx 200 /tmp/statuses)" ] || fail "not all were answered: $(sort /tmp/statuses | uniq -c)"
    ok "$(wc -l < /tmp/statuses) requests meanwhile, all answered"
}

stop_it() {
    listen /tmp/last &
    listening=$!
    wait_for test -s /tmp/last
    systemctl stop "$unit"
    wait "$listening"
    finished /tmp/last
    is Result success
    ok "a stop lets a stream finish"
}

break_it() {
    systemctl start "$unit"
    kill -KILL "$(of MainPID)"
    wait_for ready
    is NRestarts 1
    take_over 0.3.0-1
    wait_for alone
    kill -KILL "$(of MainPID)"
    wait_for ready
    is NRestarts 2
    echo "    no_such_key: 1" >> "$etc/config.yaml"
    ! systemctl restart "$unit" 2> /dev/null || fail "it starts with a bad file"
    sleep 3
    is ActiveState failed
    is ExecMainStatus 78
    is NRestarts 0
    sed -i '/no_such_key/d' "$etc/config.yaml"
    ok "killed, it comes back, after an upgrade as well; with a bad file it fails once, with 78"
}

hold_the_port() {
    systemctl reset-failed "$unit"
    systemctl enable --now --quiet auto-ai-router.socket
    systemctl start "$unit"
    wait_for ready
    rm -f /tmp/enough /tmp/statuses
    ask &
    asking=$!
    sleep 1
    systemctl restart "$unit"
    kill -KILL "$(of MainPID)"
    sleep 3
    touch /tmp/enough
    wait "$asking"
    [ "$(grep -cvx 200 /tmp/statuses)" -le 1 ] || fail "the port was not held: $(sort /tmp/statuses | uniq -c)"
    ok "with the socket unit a restart refuses nobody, and a crash costs what was under way: $(sort /tmp/statuses | uniq -c | xargs)"
}

# The next upgrade comes before the stream that the first process has open is at its end.
upgrade_in_a_row() {
    wait_for alone
    listen /tmp/stream &
    listening=$!
    wait_for test -s /tmp/stream
    for version in 0.3.0-1 0.2.0-1 0.3.0-1; do take_over "$version"; done
    wait "$listening"
    finished /tmp/stream
    wait_for alone
    is MainPID "$now"
    ok "three upgrades during one stream"
}

purge_it() {
    dpkg -P auto-ai-router > /tmp/said 2>&1 || fail "dpkg: $(cat /tmp/said)"
    [ "$(processes)" = 0 ] || fail "it runs after its removal"
    [ ! -e "$etc" ] && [ ! -e /var/lib/auto-ai-router ] || fail "something is left"
    systemctl daemon-reload
    [ -z "$(systemctl list-unit-files --no-legend 'auto-ai-router*')" ] || fail "a unit is left"
    ok "purged"
}

install_it
ask &
asking=$!
reload_it
upgrade_it
nothing_was_lost
stop_it
break_it
hold_the_port
upgrade_in_a_row
purge_it
echo "story: passed"
