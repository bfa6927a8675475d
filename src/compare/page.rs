pub(super) fn html(_: &super::results::Results) -> String {
    String::new()
}
