"""The Pulumi program: stack config to typed settings to one `LlmStack`."""
