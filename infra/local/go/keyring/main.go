// Command keyring prints the users that the kubelet would try for an image, by the kubelet's own code.
//
// It reads one JSON object per line:
// {"secrets": ["<a dockerconfigjson>", ...], "images": ["registry.example.com/app:1", ...]}
// It answers with one line for each: {"users": [["<user of the first try>", ...], ...]}
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/credentialprovider/secrets"
	"k8s.io/kubernetes/pkg/util/parsers"
)

type question struct {
	Secrets []string `json:"secrets"`
	Images  []string `json:"images"`
}

type answer struct {
	Users [][]string `json:"users"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16*1024*1024)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		users, err := lookup(asked)
		if err != nil {
			log.Fatal(err)
		}
		if err := out.Encode(answer{Users: users}); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

func lookup(asked question) ([][]string, error) {
	var pullSecrets []corev1.Secret
	for _, config := range asked.Secrets {
		pullSecrets = append(pullSecrets, corev1.Secret{
			Type: corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(config)},
		})
	}
	keyring, err := secrets.MakeDockerKeyring(pullSecrets, &credentialprovider.BasicDockerKeyring{})
	if err != nil {
		return nil, err
	}
	users := [][]string{}
	for _, image := range asked.Images {
		repository, _, _, err := parsers.ParseImageName(image)
		if err != nil {
			return nil, err
		}
		found, _ := keyring.Lookup(repository)
		names := []string{}
		for _, config := range found {
			names = append(names, config.Username)
		}
		users = append(users, names)
	}
	return users, nil
}
