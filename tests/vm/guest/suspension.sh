# Checks of busy polling over epoll. In: $nic, and the functions of server.sh.

# Kernel sockets over epoll with busy polling: each worker suspends the interrupts of its own queue
# from Linux 6.13, and is served by interrupts before. Each start logs the suspend timeouts that it
# found: 0, unless the server before was killed. A worker finds that of its queue by a connection.
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
    check suspends until_true 60 all_poll
    check polled-packets [ "$(polled_packets)" -gt 0 ]
    check one-queue-each [ "$(grep -c 'two receive queues' /tmp/log)" = 0 ]
    check found-none until_true 5 has_found 0
    stop KILL
    start_over epoll --busy-poll
    check killed until_true 60 all_poll
    check found-left until_true 5 has_found 5000000
    stop TERM
    check exit-code [ $? = 0 ]
    start_over epoll --busy-poll
    check restored until_true 60 all_poll
    check found-restored until_true 5 has_found 0
    stop TERM
    check busy-settings [ "$(deferral)" = "0 0" ]
}

# Makes new connections. Whether each worker has had one from its queue: the hash of a NIC can put
# some tens of ports in succession into one queue.
all_poll() {
    load http://198.18.0.1/512 --connections 20 --requests 200 --connection-per-request --verify &&
        [ "$(metric busy_polling)" = "$queues" ]
}

# Whether the server has found this suspend timeout at each queue, before it has set its own.
has_found() {
    [ "$(grep -c ' found_ns=' /tmp/log)" = "$queues" ] &&
        [ "$(grep -c " found_ns=$1 " /tmp/log)" = "$queues" ]
}

# Packets that the server's kernel has received in busy polls.
polled_packets() {
    ns s awk '/^TcpExt:/ && at { print $at; exit }
        /^TcpExt:/ { for (i = 1; i <= NF; i++) if ($i == "BusyPollRxPackets") at = i }' \
        /proc/net/netstat
}
