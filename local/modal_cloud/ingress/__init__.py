"""HTTP in front of web endpoints and servers, one fixed port of 127.0.0.1 each."""

from local.modal_cloud.ingress.ingress import Ingress

__all__ = ["Ingress"]
