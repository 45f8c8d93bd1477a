"""The WebAssembly level: interpreters and modules under wasmtime, with a file system of our own."""
