//! How the three that run on Java are started: Kafka, DynamoDB Local and Cassandra.
//! Each function prepares a data folder and returns the command that serves from it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::certificates::Certificates;
use super::fetch::{self, Jars};
use super::table::Service;
use crate::run;

/// Base64 of the sixteen bytes `triggerline-test`. Fixed: nothing is learnt from a new one each time.
const CLUSTER_ID: &str = "dHJpZ2dlcmxpbmUtdGVzdA";

/// Who may log in by TLS, and with what: SCRAM, as managed Kafka has it.
const LOGIN: &str = "SCRAM-SHA-512=[name=triggerline,password=triggerline]";

/// One node that is both broker and controller.
pub(crate) fn kafka(cache: &Path, certificates: &Certificates, data: &Path) -> Result<Command> {
    let port = Service::Kafka.port()?;
    let tls = Service::Kafka.tls_port()?.context("Kafka needs a port for TLS")?;
    let controller =
        Service::Kafka.internal_port()?.context("Kafka needs a port for its controller")?;
    let config = data.join("server.properties");
    // Everything that is 3 in production is 1 here. Topics are only made by `triggerline topics apply`, so a
    // test with a wrong name fails instead of making the topic. 5 offset partitions, not 50: they are made on the
    // first commit, which some test would wait for.
    fs::write(
        &config,
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}\n\
             listener.security.protocol.map=\
             PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
             ssl.keystore.type=PEM\n\
             ssl.keystore.location={keystore}\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={truststore}\n\
             sasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={logs}\n\
             auto.create.topics.enable=false\n\
             group.initial.rebalance.delay.ms=0\n\
             offsets.topic.num.partitions=5\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=5\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n",
            logs = data.join("logs").display(),
            keystore = certificates.file("server-with-key.pem").display(),
            truststore = certificates.file("ca.pem").display(),
        ),
    )?;
    let java = || java(&fetch::KAFKA, cache, "512m");
    run::captured(
        java()?
            .args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID])
            .args(["--add-scram", LOGIN, "--config"])
            .arg(&config),
    )?;
    let mut command = java()?;
    command.arg("kafka.Kafka").arg(config).current_dir(data);
    Ok(command)
}

/// In memory: each access key and region is a database of its own there, which keeps tests apart.
pub(crate) fn dynamodb(cache: &Path, data: &Path) -> Result<Command> {
    let mut command = java(&fetch::DYNAMODB, cache, "256m")?;
    command
        // It does send usage data home otherwise.
        .env("DDB_LOCAL_TELEMETRY", "0")
        .args(["com.amazonaws.services.dynamodbv2.local.main.ServerRunner", "-inMemory", "-port"])
        .arg(Service::Dynamodb.port()?.to_string())
        .current_dir(data);
    Ok(command)
}

/// One node that speaks ScyllaDB's CQL. It is alone: whatever it acknowledges must be in its commit
/// log, for tests kill it (`commitlog_sync: batch`; the default, `periodic`, loses the last writes).
pub(crate) fn cassandra(cache: &Path, certificates: &Certificates, data: &Path) -> Result<Command> {
    let config = data.join("cassandra.yaml");
    let storage_port =
        Service::Cassandra.internal_port()?.context("Cassandra needs a storage port")?;
    fs::write(
        &config,
        format!(
            "cluster_name: triggerline\n\
             num_tokens: 1\n\
             partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
             data_file_directories: ['{data}/data']\n\
             commitlog_directory: '{data}/commitlog'\n\
             hints_directory: '{data}/hints'\n\
             saved_caches_directory: '{data}/saved_caches'\n\
             cdc_raw_directory: '{data}/cdc_raw'\n\
             commitlog_sync: batch\n\
             storage_compatibility_mode: NONE\n\
             memtable:\n\
             \x20 configurations:\n\
             \x20   trie: {{ class_name: TrieMemtable }}\n\
             \x20   default: {{ inherits: trie }}\n\
             sstable: {{ selected_format: bti }}\n\
             seed_provider:\n\
             - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n\
             \x20 parameters: [{{ seeds: '127.0.0.1:{storage_port}' }}]\n\
             listen_address: 127.0.0.1\n\
             rpc_address: 127.0.0.1\n\
             storage_port: {storage_port}\n\
             native_transport_port: {port}\n\
             endpoint_snitch: SimpleSnitch\n\
             client_encryption_options:\n\
             \x20 enabled: true\n\
             \x20 optional: true\n\
             \x20 ssl_context_factory:\n\
             \x20   class_name: org.apache.cassandra.security.PEMBasedSslContextFactory\n\
             \x20 keystore: '{keystore}'\n\
             \x20 truststore: '{truststore}'\n",
            data = data.display(),
            keystore = certificates.file("server-with-key.pem").display(),
            truststore = certificates.file("ca.pem").display(),
            port = Service::Cassandra.port()?,
        ),
    )?;
    // Its own default is DEBUG: 10 MB before the first query.
    fs::write(
        data.join("logback.xml"),
        "<configuration><appender name=\"out\" class=\"ch.qos.logback.core.ConsoleAppender\"><encoder>\
         <pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} %msg%n</pattern></encoder></appender>\
         <root level=\"INFO\"><appender-ref ref=\"out\"/></root></configuration>\n",
    )?;
    let lib = fetch::jars(&fetch::CASSANDRA, cache)?;
    let mut command = java_options(&lib, "768m")?;
    command
        .arg("-Djdk.attach.allowAttachSelf=true")
        .arg("-Dio.netty.tryReflectionSetAccessible=true");
    for package in EXPORTED {
        command.arg("--add-exports").arg(format!("{package}=ALL-UNNAMED"));
    }
    for package in OPENED {
        command.arg("--add-opens").arg(format!("{package}=ALL-UNNAMED"));
    }
    command
        .arg(format!("-javaagent:{}", lib.join("jamm-0.4.0.jar").display())) // measures its memtables
        .arg(format!("-Dlogback.configurationFile={}", data.join("logback.xml").display()))
        .arg(format!("-Dcassandra.config=file://{}", config.display()))
        .arg(format!("-Dcassandra.storagedir={}", data.display()))
        .arg("-Dcassandra-foreground=yes")
        // There is no other node to wait for: this saves 40 s.
        .args(["-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=0"])
        .arg("org.apache.cassandra.service.CassandraDaemon")
        .current_dir(data);
    Ok(command)
}

/// Packages of the JDK that Cassandra reaches into, as its own jvm17-server.options lists them.
const EXPORTED: [&str; 9] = [
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.attach/sun.tools.attach",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.unsupported/sun.misc",
];
const OPENED: [&str; 14] = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.util",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.compiler/com.sun.tools.javac",
    "jdk.management/com.sun.management.internal",
];

/// Java with these jars; what is missing is the class to run.
fn java(jars: &Jars, cache: &Path, heap: &str) -> Result<Command> {
    java_options(&fetch::jars(jars, cache)?, heap)
}

fn java_options(lib: &Path, heap: &str) -> Result<Command> {
    let mut command =
        Command::new(fetch::need_program("java", "openjdk-17-jre-headless", "Java 17")?);
    command
        .arg(format!("-Xmx{heap}"))
        // Ending is seen; limping on without memory is a test that fails for no visible reason.
        .arg("-XX:+ExitOnOutOfMemoryError")
        // Native parts (DynamoDB's SQLite) lie among the jars.
        .arg(format!("-Djava.library.path={}", lib.display()))
        .arg("-cp")
        .arg(lib.join("*"));
    Ok(command)
}
