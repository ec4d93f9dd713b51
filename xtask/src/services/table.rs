//! The one table of services: what each is called, which port it has, and how tests are told.
//!
//! `docker-compose.kafka.yml` repeats the ports as defaults of the same variables; a test below compares them.

use std::env;
use std::fmt;

use anyhow::{Context, Result};
use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    Kafka,
    Postgres,
    Redis,
    Dynamodb,
    Cassandra,
}

/// A port's number, unless the variable says another.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    variable: &'static str,
}

#[derive(Debug)]
pub(crate) struct Row {
    /// What a person types, and the name of its log.
    name: &'static str,
    /// Where clients connect.
    port: Port,
    /// What a node needs for itself; no client uses it.
    internal: Option<Port>,
    /// Where clients connect by TLS, and how tests are told, of those that have another port for it.
    tls: Option<Tls>,
    /// How tests are told, with `{port}` where the port goes.
    pub(crate) test_variable: &'static str,
    address: &'static str,
    /// The service's name in the Compose file.
    pub(crate) compose: &'static str,
}

#[derive(Debug)]
struct Tls {
    port: Port,
    test_variable: &'static str,
    address: &'static str,
}

// Unusual ports, so that a developer's own PostgreSQL or Redis is never mistaken for the one that tests may wipe.
const TABLE: [Row; 5] = [
    Row {
        name: "kafka",
        port: Port { number: 29092, variable: "TRIGGERLINE_KAFKA_PORT" },
        internal: Some(Port { number: 29093, variable: "TRIGGERLINE_KAFKA_CONTROLLER_PORT" }),
        tls: Some(Tls {
            port: Port { number: 29094, variable: "TRIGGERLINE_KAFKA_TLS_PORT" },
            test_variable: "TRIGGERLINE_TEST_KAFKA_TLS",
            address: "127.0.0.1:{port}",
        }),
        test_variable: "TRIGGERLINE_TEST_KAFKA",
        address: "127.0.0.1:{port}",
        compose: "kafka",
    },
    Row {
        name: "postgres",
        port: Port { number: 25432, variable: "TRIGGERLINE_POSTGRES_PORT" },
        internal: None,
        tls: None,
        test_variable: "TRIGGERLINE_TEST_POSTGRES",
        // A superuser: each test creates a database of its own.
        address: "postgres://triggerline:triggerline@127.0.0.1:{port}/postgres",
        compose: "postgres",
    },
    Row {
        name: "redis",
        port: Port { number: 26379, variable: "TRIGGERLINE_REDIS_PORT" },
        internal: None,
        tls: Some(Tls {
            port: Port { number: 26380, variable: "TRIGGERLINE_REDIS_TLS_PORT" },
            test_variable: "TRIGGERLINE_TEST_REDIS_TLS",
            address: "rediss://127.0.0.1:{port}",
        }),
        test_variable: "TRIGGERLINE_TEST_REDIS",
        address: "redis://127.0.0.1:{port}",
        compose: "redis",
    },
    Row {
        name: "dynamodb",
        port: Port { number: 28000, variable: "TRIGGERLINE_DYNAMODB_PORT" },
        internal: None,
        tls: None,
        test_variable: "TRIGGERLINE_TEST_DYNAMODB",
        address: "http://127.0.0.1:{port}",
        compose: "dynamodb",
    },
    Row {
        name: "cassandra",
        port: Port { number: 29042, variable: "TRIGGERLINE_CASSANDRA_PORT" },
        internal: Some(Port { number: 27000, variable: "TRIGGERLINE_CASSANDRA_STORAGE_PORT" }),
        tls: None,
        test_variable: "TRIGGERLINE_TEST_CASSANDRA",
        address: "127.0.0.1:{port}",
        compose: "scylla", // the same CQL; ScyllaDB comes as a container, Cassandra from Maven
    },
];

/// For when none is named.
pub(crate) const ALL: [Service; 5] =
    [Service::Kafka, Service::Postgres, Service::Redis, Service::Dynamodb, Service::Cassandra];

/// Where the tests of Kafka find the official console tools: a folder of jars.
pub(crate) const TOOLS_VARIABLE: &str = "TRIGGERLINE_TEST_KAFKA_TOOLS";

impl Service {
    pub(crate) fn row(self) -> &'static Row {
        // The table is in the enum's order; a test checks it.
        &TABLE[self as usize]
    }

    pub(crate) fn port(self) -> Result<u16> {
        self.row().port.get()
    }

    pub(crate) fn internal_port(self) -> Result<Option<u16>> {
        self.row().internal.as_ref().map(Port::get).transpose()
    }

    pub(crate) fn tls_port(self) -> Result<Option<u16>> {
        self.row().tls.as_ref().map(|tls| tls.port.get()).transpose()
    }

    /// The variable that tells tests of its TLS, and what it says, where that is another port.
    pub(crate) fn tls_address(self) -> Result<Option<(&'static str, String)>> {
        let Some(tls) = &self.row().tls else { return Ok(None) };
        Ok(Some((tls.test_variable, tls.address.replace("{port}", &tls.port.get()?.to_string()))))
    }

    /// The variable to change when the port is taken.
    pub(crate) fn port_variable(self) -> &'static str {
        self.row().port.variable
    }

    /// What tests put into a client.
    pub(crate) fn address(self) -> Result<String> {
        Ok(self.row().address.replace("{port}", &self.port()?.to_string()))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.row().name)
    }
}

impl Port {
    fn get(&self) -> Result<u16> {
        match env::var(self.variable) {
            Ok(value) => {
                value.parse().with_context(|| format!("{}={value} is not a port", self.variable))
            }
            Err(_) => Ok(self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_enum_have_the_same_order() {
        assert_eq!(ALL.as_slice(), Service::value_variants());
        for service in ALL {
            assert_eq!(service.to_possible_value().unwrap().get_name(), service.row().name);
        }
    }

    #[test]
    fn the_compose_file_has_the_same_ports_and_names() {
        let compose = include_str!("../../../docker-compose.kafka.yml");
        for row in &TABLE {
            let published = format!("127.0.0.1:${{{}:-{}}}:", row.port.variable, row.port.number);
            assert!(compose.contains(&published), "{} should publish {published}", row.name);
            assert!(
                compose.contains(&format!("\n  {}:\n", row.compose)),
                "no service {}",
                row.compose
            );
        }
    }
}
