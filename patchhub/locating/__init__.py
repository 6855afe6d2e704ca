"""Where a model keeps what it says about a subject: causal tracing, interchange, a proposal."""
