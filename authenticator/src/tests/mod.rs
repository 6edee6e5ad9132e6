//! Tests of whole commands on the test body: the virtual clock, the scripted finger, the flash that loses power.

mod bio_enrollment;
mod client;
mod client_pin;
mod config;
mod credential_management;
mod extensions;
mod get_assertion;
mod get_info;
mod large_blobs;
mod local;
mod make_credential;
mod power_cuts;
mod reset_and_selection;
mod robustness;
mod store;
mod tries;
mod u2f;
