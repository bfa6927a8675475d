use super::*;

#[test]
fn settings_that_cannot_work_are_named_with_their_bound() {
    assert!(Settings::for_connections(1).check().is_ok());
    let refused = |change: fn(&mut Settings)| {
        let mut settings = Settings::for_connections(100);
        change(&mut settings);
        settings.check().unwrap_err().to_string()
    };
    assert!(
        refused(|settings| settings.connections = 0).contains("connections is 0; it must be 1 to")
    );
    assert!(
        refused(|settings| settings.send_chunks = 63)
            .contains("send_chunks is 63; it must be 64 to")
    );
    assert!(refused(|settings| settings.large_inputs = 0).contains("large_inputs is 0"));
    let most = "receive_buffers is 32769; it must be 1 to 32768";
    assert!(refused(|settings| settings.receive_buffers = 32_769).contains(most));
    assert!(
        refused(|settings| settings.send_entries = usize::MAX)
            .contains("send_entries is 18446744073709551615")
    );
}
