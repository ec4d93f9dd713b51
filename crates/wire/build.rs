//! Compiles proto/ without a protoc on the machine.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const ROOT: &str = "../../proto";
    println!("cargo:rerun-if-changed={ROOT}");
    let contract = ["events", "inbox", "subscriptions", "pull", "replays"]
        .map(|name| format!("triggerline/v1/{name}.proto"));
    let files = protox::compile(contract, [ROOT])?;
    // For clients that ask what there is (gRPC reflection).
    let descriptors = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(descriptors, files.encode_to_vec())?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::MessageCodec")
        .bytes(".")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(files)?;
    Ok(())
}
