#![no_main]

dmtool_fuzz::target!(config_toml);
