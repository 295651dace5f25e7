//! Parts: accelerators, hosts, NICs, switches, links, drives, with data sheets, sources and prices.
//!
//! The catalogue is a set of TOML files embedded in the binary and read through the same checked input as a user's
//! own parts, which add to it or override it (`[[accelerator]]`, `[[nic]]`, … in a topology file).

mod catalogue;
mod parts;

pub use catalogue::{Catalogue, PartLists, find};
pub use parts::{
    Accelerator, AcceleratorKind, Drive, Dtype, Host, LinkTechnology, Nic, NicProtocol, Peaks, Price, PriceKind, Switch, SwitchKind,
};
