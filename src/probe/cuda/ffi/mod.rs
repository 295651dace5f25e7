//! CUDA's libraries, loaded while the program runs: the one place of the CUDA probe with `unsafe`. What leaves it is safe: every library
//! and every symbol is looked up before the first call, memory and handles free themselves, and sizes are checked before a copy.
#![allow(
    unsafe_code,
    reason = "calls into libraries of C; every handle belongs to one owner here, and every buffer is checked against its size"
)]

mod blas;
mod driver;
mod memory;
mod nccl;
mod nvml;
mod queue;

pub(super) use blas::{Blas, Format, Product};
pub(super) use driver::{Attribute, Context, Driver};
pub(super) use memory::{Buffer, Pinned};
pub(super) use nccl::{Communicator, Exchange, Nccl};
pub(super) use nvml::{Monitor, State};
pub(super) use queue::{Arg, Event, Function, Module, Stream};

use libloading::Library;

/// Opens the first library of several names.
fn open(names: &[String]) -> Option<Library> {
    // SAFETY: the libraries are those of the vendor, by their names; loading them runs their initialisers, as any program that is linked to
    // them does.
    names.iter().find_map(|name| unsafe { Library::new(name) }.ok())
}

/// The address of a symbol as a function of a type; the name of the symbol where it is missing.
fn symbol<F: Copy>(library: &Library, file: &str, name: &str) -> Result<F, String> {
    // SAFETY: the type is the one that the header of the library declares for this name.
    unsafe { library.get::<F>(name.as_bytes()) }.map(|f| *f).map_err(|_| missing(file, name))
}

fn missing(file: &str, name: &str) -> String {
    format!("the library `{file}` has no `{name}`: it is too old or broken")
}

/// Functions of a library that are looked up all at once.
macro_rules! functions {
    ($name:ident: $file:expr; $(fn $function:ident($($type:ty),*);)*) => {
        #[allow(non_snake_case)]
        struct $name {
            $($function: unsafe extern "C" fn($($type),*) -> ::core::ffi::c_int,)*
            /// Never unloaded: vendors' libraries keep threads of their own.
            _library: ::core::mem::ManuallyDrop<::libloading::Library>,
        }
        impl $name {
            fn load(names: &[String]) -> Result<Self, String> {
                let library = super::open(names).ok_or_else(|| format!("the library `{}` is missing", $file))?;
                Ok(Self { $($function: super::symbol(&library, $file, stringify!($function))?,)* _library: ::core::mem::ManuallyDrop::new(library) })
            }
        }
    };
}
use functions;
