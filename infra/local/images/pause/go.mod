module regcred.dev/infra/local/pause

go 1.26.0
