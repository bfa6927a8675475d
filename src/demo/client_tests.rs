//! The client distinguishes good answers from bad ones, by kind.

use super::*;
use std::net::TcpListener;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn an_answer_is_waited_for_until_it_is_whole() {
    for len in 1..GOOD.len() {
        assert_eq!(check(&GOOD[..len], false, b"hello"), Ok(false), "{len}");
    }
    assert_eq!(check(GOOD, false, b"hello"), Ok(true));
}

#[test]
fn what_is_wrong_with_an_answer_is_named() {
    for (answer, flaw) in [
        (&b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello"[..], AnswerError::Status),
        (b"SSH-2.0-OpenSSH\r\n", AnswerError::Status),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", AnswerError::Length),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", AnswerError::Length),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo", AnswerError::Content),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more", AnswerError::Content),
    ] {
        assert_eq!(
            check(answer, false, b"hello"),
            Err(flaw),
            "{}",
            String::from_utf8_lossy(answer)
        );
    }
    assert_eq!(
        check(b"HTTP/1.1 200 OK\r\nX: endless", true, b"hello"),
        Err(AnswerError::Status),
        "no room is left for it"
    );
}

#[test]
fn bytes_are_compared_one_by_one() {
    let expected = Expected::Bytes(b"END\r\n");
    for (answer, read) in [
        ("EN", Ok(false)),
        ("END\r\n", Ok(true)),
        ("ENT", Err(AnswerError::Content)),
        ("END\r\nE", Err(AnswerError::Content)),
    ] {
        assert_eq!(expected.check(answer.as_bytes(), false), read, "{answer}");
    }
}

/// Drives two connections against a server that runs `serve` for each, for 50 ms or, on a busy
/// machine, until there are two answers or errors.
fn driven(serve: impl Fn(TcpStream) + Send + Copy + 'static) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let request = "GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_owned();
    let expected = Expected::Page(b"hello");
    let mut load = Load {
        target,
        request,
        expected,
        connections: 2,
        time: Duration::from_millis(50),
        core: None,
    };
    loop {
        let outcome = drive(&load).unwrap();
        if outcome.requests + outcome.errors.total() >= 2 || load.time > Duration::from_secs(60) {
            return outcome;
        }
        load.time *= 2;
    }
}

#[test]
fn good_answers_are_requests_and_bad_ones_errors() {
    let answer = |mut stream: TcpStream, answer: &[u8]| {
        let mut request = [0; 512];
        while stream.read(&mut request).is_ok_and(|n| n > 0) && stream.write_all(answer).is_ok() {}
    };
    let good = driven(move |stream| answer(stream, GOOD));
    assert!(
        good.requests >= 2 && good.errors == Errors::default(),
        "{} {}",
        good.requests,
        good.errors
    );
    assert_eq!(good.latency_us.len(), good.requests);

    let bad =
        driven(move |stream| answer(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo"));
    assert!(
        bad.requests == 0 && bad.errors.content >= 2 && bad.errors.total() == bad.errors.content,
        "{}",
        bad.errors
    );
}

#[test]
fn a_server_that_hangs_up_is_an_error_each_time() {
    let outcome = driven(drop);
    assert!(outcome.requests == 0 && outcome.errors.reset >= 2, "{}", outcome.errors);
    assert!(outcome.errors.to_string().ends_with("reset or closed early"), "{}", outcome.errors);
}
