//! Compiles what the measurements ask of their peer.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=etcd");
    let descriptors = protox::compile(["etcd.proto", "lock.proto"], ["etcd"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
