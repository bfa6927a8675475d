"""Asks a server of the Redis protocol what a client would: address and port as arguments."""
import sys
import redis

client = redis.Redis(host=sys.argv[1], port=int(sys.argv[2]), socket_timeout=60)


def expect(given, expected):
    assert given == expected, f"{given!r} instead of {expected!r}"


def refuses(call, text):
    try:
        call()
    except redis.ResponseError as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no error: {text}")


expect(client.ping(), True)
expect(client.echo("x"), b"x")
expect(client.get("a"), None)
expect(client.set("a", "1", ex=100, nx=True), True)
expect(client.set("a", "2", nx=True), None)
expect(client.set("b", "2", xx=True), None)
expect(client.set("b", b"\x00\r\n\xff" * 1000, px=1500), True)
expect(client.get("b"), b"\x00\r\n\xff" * 1000)
expect(client.ttl("a") in (99, 100), True)
expect(client.ttl("b") in (1, 2), True)
expect(client.ttl("none"), -2)
expect(client.incr("a"), 2)
expect(client.incrby("a", 40), 42)
expect(client.decr("a"), 41)
expect(client.exists("a", "b", "none", "a"), 3)
expect(client.delete("a", "none"), 1)
refuses(lambda: client.incr("b"), "value is not an integer or out of range")
refuses(lambda: client.hget("a", "b"), "unknown command")
pipeline = client.pipeline(transaction=False)
for number in range(1000):
    pipeline.set(f"key {number}", "v" * number)
for number in range(1000):
    pipeline.get(f"key {number}")
expect(pipeline.execute(), [True] * 1000 + [b"v" * number for number in range(1000)])
print("all as it should be")
