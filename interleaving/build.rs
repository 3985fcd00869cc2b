//! Says to the library's source that it is under shuttle.
fn main() {
    println!("cargo::rustc-cfg=shuttle");
}
