package image

import (
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

const (
	cisDocker   = "https://www.cisecurity.org/benchmark/docker"
	nist190     = "https://doi.org/10.6028/NIST.SP.800-190"
	buildSecret = "https://docs.docker.com/build/building/secrets/"
)

// Rules lists what is judged of how an image is made.
func Rules() []scan.Rule {
	rule := func(id string, severity signal.Severity, title, why, fix string, references ...string) scan.Rule {
		return scan.Rule{ID: id, Title: title, Why: why, Fix: fix, Severity: severity, References: references, Tags: []string{"image"}}
	}
	return []scan.Rule{
		rule("image-root-user", signal.SeverityMedium, "Runs as root",
			"Whoever breaks into the program is root in the container, one flaw of the kernel or one mounted folder away from root on the host.",
			"Make a user in the build file and end it with USER and its number, as in USER 10001.", cisDocker, nist190),
		rule("image-user-name", signal.SeverityLow, "USER is a name, not a number",
			"Kubernetes cannot tell that a name is not root: a pod with runAsNonRoot does not start, and people take the setting away.",
			"Write the number of the user: USER 10001."),
		rule("image-secret-variable", signal.SeverityHigh, "Secret in the environment of the image",
			"Everybody who can pull the image reads its environment, and so does every process in it, with its error reports.",
			"Take the variable out of the build file, give it at run time from a secret store, and replace the secret: older images still have it.", buildSecret),
		rule("image-secret-label", signal.SeverityHigh, "Secret in a label of the image",
			"Labels are shown by every tool that lists images.",
			"Take the label out of the build file and replace the secret.", buildSecret),
		rule("image-secret-history", signal.SeverityHigh, "Secret in the build history of the image",
			"The history of an image names each command with the values of its build arguments, for everybody who can pull it.",
			"Hand the secret to the build with RUN --mount=type=secret and replace it: older images still have it.", buildSecret),
		rule("image-base-latest", signal.SeverityLow, "Built from a base image that is not fixed",
			"The tag latest, or none, is another image after each release of the base: builds cannot be repeated, and a bad release comes in unseen.",
			"Name a release and its digest: FROM debian:12-slim@sha256:….", nist190),
		rule("image-add-address", signal.SeverityMedium, "File taken from an address without a check",
			"ADD with an address takes what the server gives on the day of the build, and nobody notices if it is something else.",
			"Use ADD --checksum=sha256:… or fetch the file, check its digest, and only then use it.", "https://docs.docker.com/reference/dockerfile/#add---checksum"),
		rule("image-fetch-and-run", signal.SeverityHigh, "A script from the network was run in the build",
			"Whoever has the server, or its name, runs what he likes in the image.",
			"Fetch the script, compare it with a digest that is in the build file, then run it; or use a package.", "https://slsa.dev/"),
		rule("image-remote-login", signal.SeverityMedium, "Port of a remote login is exposed",
			"A login into a container goes around the platform's own access control and logs, and is a way in.",
			"Take the login service and EXPOSE out of the image; use kubectl exec or docker exec.", cisDocker),
		rule("image-admin-port", signal.SeverityLow, "Port of a database or an administration interface is exposed",
			"Such ports are what attackers look for first; some of these services ask for no password as they come.",
			"Take EXPOSE out unless the image is that service; give the service a password and let only its clients reach it.", nist190),
		rule("image-setuid", signal.SeverityMedium, "The image adds a program that runs as its owner (setuid)",
			"A flaw in such a program makes any user of the container its owner, mostly root.",
			"Take the bit away (chmod u-s,g-s), and run with no-new-privileges (allowPrivilegeEscalation: false).", cisDocker),
		rule("image-world-writable", signal.SeverityMedium, "Everybody may write",
			"Any process in the container can change the file, and so what others in it read or run.",
			"chmod o-w; where several users must write into a folder, set the sticky bit too (chmod 1777)."),
		rule("image-account-file", signal.SeverityHigh, "A file with the accounts may be written by others than root",
			"Who writes to it makes himself root in the container. Images made for arbitrary user ids do this so that the id gets a name.",
			"chmod 0644 (shadow: 0640); platforms give arbitrary user ids a name by themselves today.", "https://access.redhat.com/articles/4859371"),
		rule("image-healthcheck", signal.SeverityLow, "No HEALTHCHECK",
			"Without one, docker takes a program that hangs for one that works. Kubernetes has probes of its own and does not look at it.",
			"Add HEALTHCHECK, or probes where the image is run.", cisDocker),
		rule("image-package-cache", signal.SeverityLow, "Package manager's downloads were left in the image",
			"They make the image larger and are of no use; old lists hide that packages are out of date.",
			"Remove them in the same RUN that installs: rm -rf /var/lib/apt/lists/*, apk add --no-cache, dnf clean all, pip install --no-cache-dir."),
		rule("image-sudo", signal.SeverityLow, "sudo is installed",
			"A container that drops its privileges has no use for a program that gives them back; its flaws have made users root before.",
			"Leave it out; use USER for each step of the build, and gosu or setpriv where a program must change its user at the start.", "https://nvd.nist.gov/vuln/detail/CVE-2021-3156"),
	}
}
