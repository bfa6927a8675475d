//! placeholder
use crate::error::Result;
/// x
pub fn run(_: Option<&str>, _: bool) -> Result<()> {
    Ok(())
}
