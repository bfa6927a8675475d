# Checks of busy polling over epoll. In: $nic, and the functions of server.sh.

# Kernel sockets over epoll with busy polling: each worker suspends the interrupts of its own queue
# from Linux 6.13, and is served by interrupts before. Each start logs the suspend timeout that it
# found: 0, unless the server before was killed.
check_suspension() {
    local version queues
    mode=epoll
    version=$(uname -r | awk -F. '{ print $1 * 100 + $2 }')
    queues=$(ns s sh -c 'ls -d /sys/class/net/s0/queues/rx-*' | wc -l)
    [ "$queues" -lt 2 ] || queues=2
    start_over epoll --busy-poll || { report start FAIL && return; }
    check bytes same_bytes
    check http load http://198.18.0.1/4k --connections 20 --requests 600 --verify
    check http-connections load http://198.18.0.1/512 --connections 20 --requests 200 \
        --connection-per-request --verify
    check memcached load memcached://198.18.0.1:11211 --connections 20 --requests 600 \
        --keys 200 --verify
    if [ "$version" -lt 613 ]; then
        check given-up grep -q 'Linux 6' /tmp/log
        stop TERM
        return
    fi
    check suspends [ "$(metric busy_polling)" = "$queues" ]
    check polled-packets [ "$(polled_packets)" -gt 0 ]
    check one-queue-each [ "$(grep -c 'two receive queues' /tmp/log)" = 0 ]
    check found-none [ "$(found)" = 0 ]
    stop KILL
    start_over epoll --busy-poll
    check killed load http://198.18.0.1/512 --connections 20 --requests 100 --verify
    check found-left [ "$(found)" = 5000000 ]
    stop TERM
    check exit-code [ $? = 0 ]
    start_over epoll --busy-poll
    check restored load http://198.18.0.1/512 --connections 20 --requests 100 --verify
    check found-restored [ "$(found)" = 0 ]
    stop TERM
    check busy-settings [ "$(deferral)" = "0 0" ]
}

# The suspend timeouts of the instances before the server has changed them.
found() { sed -n 's/.* found_ns=\([0-9]*\).*/\1/p' /tmp/log | sort -u | paste -sd, -; }

# Packets that the server's kernel has received in busy polls.
polled_packets() {
    ns s awk '/^TcpExt:/ && at { print $at; exit }
        /^TcpExt:/ { for (i = 1; i <= NF; i++) if ($i == "BusyPollRxPackets") at = i }' \
        /proc/net/netstat
}
