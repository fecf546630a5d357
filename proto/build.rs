//! Turns the wire definitions into Rust with a compiler written in Rust: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let definitions = protox::compile(["rqd.proto", "report.proto", "host.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Sorted maps encode to the same bytes every time, which the wire samples compare.
        .btree_map(".")
        .compile_fds(definitions)?;
    Ok(())
}
