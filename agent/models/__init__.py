"""Language models: implementations of `agent.protocols.ChatModel`, and the catalog that chooses among them."""
