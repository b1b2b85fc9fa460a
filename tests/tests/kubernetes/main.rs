//! The cluster that suites test against is a real one: what Kubernetes does everywhere, it does there. One cluster for
//! all of these tests; a namespace for each of them that needs it.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

mod agents;
mod behind;
mod blue_green;
mod chart;
mod conditions;
mod custom;
mod disaster;
mod edge;
mod enrolment;
mod export;
mod faults;
mod hands;
mod helm;
mod home;
mod images;
mod installed;
mod mirror;
mod nodes;
mod others_at_work;
mod phases;
mod reading;
mod reboots;
mod rights;
mod rolling;
mod routes;
mod seams;
mod switching;
mod traps;
mod upkeep;
mod view;
mod work;
mod workers;
mod workloads;
mod writing;
