"""The demo's definitions of registries and its Kubernetes manifest."""

from __future__ import annotations

from realparts.aws import ACCOUNT, REGION

ECR_HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
BASIC_HOST = "registry.example.com"

ECR = f"""\
provider: ecr
account: "{ACCOUNT}"
regions: [{REGION}]
probe: shop/web:1
"""

BASIC = f"""\
provider: basic
hosts: [{BASIC_HOST}]
probe: shop/tools:1
"""


def deployment(namespace: str, image_tag: str = "1") -> str:
    """A Deployment with two containers, one from each private registry."""
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  namespace: {namespace}
  annotations:
    registry.regcred.dev/images: shop/ecr
    registry.regcred.dev/tools: shop/basic
spec:
  selector: {{matchLabels: {{app: shop}}}}
  strategy: {{type: Recreate}}
  template:
    metadata: {{labels: {{app: shop}}}}
    spec:
      hostNetwork: true                 # the node has no network plugin
      terminationGracePeriodSeconds: 0
      containers:
        - {{name: web, image: "{ECR_HOST}/shop/web:{image_tag}", imagePullPolicy: Always}}
        - {{name: tools, image: "{BASIC_HOST}/shop/tools:{image_tag}", imagePullPolicy: Always}}
"""
