#![no_main]

dmtool_fuzz::target!(trees);
