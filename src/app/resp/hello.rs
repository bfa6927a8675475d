//! HELLO: chooses the version of the protocol and describes the server.
//!
//! RESP3 differs here in the null answer and in the map that answers HELLO: no other command has an
//! answer that it changes.

use super::codec::{Resp, Value};
use super::commands::Arguments;
use crate::app::codec::Call;

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Version 2, until HELLO asks for another.
    #[default]
    Resp2,
    /// Version 3.
    Resp3,
}

impl Protocol {
    /// The answer if nothing is stored there.
    pub(super) fn null(self) -> Value<'static> {
        match self {
            Protocol::Resp2 => Value::Null,
            Protocol::Resp3 => Value::Null3,
        }
    }
}

const NO_SUCH_VERSION: &str = "NOPROTO unsupported protocol version";
const NO_NUMBER: &str = "ERR Protocol version is not an integer or out of range";
const SYNTAX: &str = "ERR Syntax error in HELLO option: only SETNAME is known";

/// `HELLO [VERSION [SETNAME name]]`. Returns the version for the next answers.
pub(super) fn run(
    protocol: Protocol,
    words: &mut Arguments<'_>,
    call: &mut Call<'_, Resp>,
) -> Protocol {
    match version(protocol, words) {
        Ok(protocol) => {
            describe(protocol, call);
            protocol
        }
        Err(error) => {
            call.answer(Value::Error(error));
            protocol
        }
    }
}

fn version(current: Protocol, words: &mut Arguments<'_>) -> Result<Protocol, &'static str> {
    let Some(version) = words.next() else { return Ok(current) };
    let version = match str::from_utf8(version).ok().and_then(|text| text.parse::<i64>().ok()) {
        Some(2) => Protocol::Resp2,
        Some(3) => Protocol::Resp3,
        Some(_) => return Err(NO_SUCH_VERSION),
        None => return Err(NO_NUMBER),
    };
    while let Some(option) = words.next() {
        if !option.eq_ignore_ascii_case(b"SETNAME") || words.next().is_none() {
            return Err(SYNTAX);
        }
    }
    Ok(version)
}

fn describe(protocol: Protocol, call: &mut Call<'_, Resp>) {
    let texts = [
        ("server", "simoom"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("mode", "standalone"),
        ("role", "master"),
    ];
    let (map, number) = match protocol {
        Protocol::Resp2 => (&b"*10\r\n"[..], 2),
        Protocol::Resp3 => (&b"%5\r\n"[..], 3),
    };
    call.output().copy(map);
    for (name, text) in texts {
        call.answer(Value::Bulk(name.as_bytes()));
        call.answer(Value::Bulk(text.as_bytes()));
    }
    call.answer(Value::Bulk(b"proto"));
    call.answer(Value::Integer(number));
}
