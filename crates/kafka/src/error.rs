/// What went wrong with Kafka: the operation, and librdkafka's own words as the source.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct KafkaError {
    pub operation: String,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl KafkaError {
    pub(crate) fn new(
        operation: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { operation: operation.into(), source: source.into() }
    }
}
