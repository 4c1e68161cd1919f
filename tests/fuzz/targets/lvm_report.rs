#![no_main]

dmtool_fuzz::target!(lvm_report);
