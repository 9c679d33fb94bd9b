"""Fakes of the providers on loopback, each as strict as the real one: what a provider would refuse is refused here."""
