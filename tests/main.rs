//! Integration tests.

mod cli;
mod dumps;
mod filetests;
mod material;
