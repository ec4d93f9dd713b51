//! Compiles proto/ without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const ROOT: &str = "../../proto";
    println!("cargo:rerun-if-changed={ROOT}");
    let files = protox::compile(["triggerline/v1/events.proto"], [ROOT])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
