"""A TPM 2.0 client without a native library: commands made with `struct`, spoken to the kernel or to an emulator."""
