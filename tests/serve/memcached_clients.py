"""What clients of memcached do all day, with pymemcache (text) and pylibmc (libmemcached: text and binary)."""

import sys

import pylibmc
from pymemcache.client.base import Client

host, port = sys.argv[1], int(sys.argv[2])


def check(what, got, expected):
    assert got == expected, f"{what}: {got!r}, not {expected!r}"


def with_pymemcache():
    client = Client((host, port), timeout=20, default_noreply=False)
    client.flush_all()
    check("a miss", client.get("a"), None)
    check("set", client.set("a", b"1", expire=100), True)
    check("get", client.get("a"), b"1")
    check("add", client.add("a", b"2"), False)
    check("replace", client.replace("a", b"22"), True)
    check("append", client.append("a", b"33"), True)
    check("prepend", client.prepend("a", b"11"), True)
    check("joined", client.get("a"), b"112233")
    value, cas = client.gets("a")
    check("cas", client.cas("a", b"5", cas), True)
    check("cas of what has changed", client.cas("a", b"6", cas), False)
    check("cas of nothing", client.cas("nothing", b"6", cas), None)
    check("incr", client.incr("a", 10), 15)
    check("decr", client.decr("a", 100), 0)
    check("incr of nothing", client.incr("nothing", 1), None)
    check("touch", client.touch("a", 200), True)
    check("what counting leaves", client.get("a"), b"0 ")
    check("set_many", client.set_many({f"key{i}": b"%d" % i for i in range(500)}), [])
    many = client.get_many([f"key{i}" for i in range(0, 1000, 2)])
    check("get_many", many, {f"key{i}": b"%d" % i for i in range(0, 500, 2)})
    check("delete", client.delete("a"), True)
    check("delete of nothing", client.delete("a"), False)
    stats = client.stats()
    assert stats[b"curr_items"] >= 500 and stats[b"cmd_get"] > 500 and stats[b"uptime"] >= 0, stats
    check("version", client.version()[:4], b"1.6.")
    for binary in b"\r\n", bytes(range(256)) * 40, b"x" * 900_000:
        client.set("binary", binary)
        check("binary", client.get("binary"), binary)
    client.set("quiet", b"1", noreply=True)
    check("noreply", client.get("quiet"), b"1")
    client.quit()


def with_pylibmc(binary):
    client = pylibmc.Client([f"{host}:{port}"], binary=binary, behaviors={"cas": True, "tcp_nodelay": True})
    client.flush_all()
    check("a miss", client.get("a"), None)
    check("set", client.set("a", 1), True)
    check("incr", client.incr("a", 5), 6)
    check("decr", client.decr("a", 2), 4)
    check("add", client.add("a", 2), False)
    check("replace", client.replace("a", "text"), True)
    check("get", client.get("a"), "text")
    try:
        check("replace of nothing", client.replace("nothing", 1), False)
    except pylibmc.NotFound:
        assert binary, "only the binary protocol says why"
    client["bytes"] = b"\0\r\n" * 1000
    check("append", client.append("bytes", b"end"), True)
    check("prepend", client.prepend("bytes", b"begin"), True)
    check("joined", client["bytes"], b"begin" + b"\0\r\n" * 1000 + b"end")
    value, cas = client.gets("a")
    check("cas", client.cas("a", "other", cas), True)
    check("cas of what has changed", client.cas("a", "third", cas), False)
    check("set_multi", client.set_multi({f"key{i}": i for i in range(300)}), [])
    check("get_multi", client.get_multi([f"key{i}" for i in range(600)]), {f"key{i}": i for i in range(300)})
    check("large", client.set("large", "x" * 900_000), True)
    check("large", client.get("large"), "x" * 900_000)
    check("touch", client.touch("a", 100), True)
    check("delete", client.delete("a"), True)
    check("delete of nothing", client.delete("a"), False)
    check("delete_multi", client.delete_multi([f"key{i}" for i in range(300)]), True)
    (_, stats), = client.get_stats()
    assert {"pid", "curr_items", "limit_maxbytes"} <= {name if isinstance(name, str) else name.decode() for name in stats}
    client.disconnect_all()


with_pymemcache()
with_pylibmc(binary=False)
with_pylibmc(binary=True)
print("pymemcache, pylibmc text, pylibmc binary: all as it should be")
