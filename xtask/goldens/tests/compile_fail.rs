//! What a contract does not list does not compile, a small one's and a real one's; the messages are reviewed with `TRYBUILD=overwrite`.

#[test]
fn what_is_not_documented_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
