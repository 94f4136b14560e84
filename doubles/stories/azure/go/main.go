// The story of a secret, told to a double of Azure Key Vault by Microsoft's SDK for Go.
//
// It prints what it saw, and `doubles/stories/azure/expected.txt` says what it has to see. The only argument is the file
// `double.json` that the double writes.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

const (
	name   = "story-one"
	first  = "kfcanary-storyvalue1"
	second = "kfcanary-storyvalue2"
	third  = "kfcanary-storyvalue3"
)

var (
	ctx    = context.Background()
	begin  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end    = time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	later  = time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC)
	double description
)

type principal struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

type description struct {
	VaultURL         string               `json:"vault_url"`
	Authority        string               `json:"authority"`
	CA               string               `json:"ca"`
	Tenant           string               `json:"tenant_id"`
	Principals       map[string]principal `json:"principals"`
	Certificate      string               `json:"certificate"`
	FederatedToken   string               `json:"federated_token"`
	IMDS             string               `json:"imds_url"`
	AppService       string               `json:"app_service_url"`
	AppServiceHeader string               `json:"app_service_header"`
	Control          string               `json:"control_url"`
	ManagedSecret    string               `json:"managed_secret"`
}

func say(what string, found ...any) {
	fmt.Println(what + ": " + strings.TrimSuffix(fmt.Sprintln(found...), "\n"))
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func yes(value bool) string {
	if value {
		return "yes"
	}
	return "no"
}

// The error of an answer: status, code, inner code.
func failure(err error) string {
	if err == nil {
		return "no error"
	}
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		return err.Error()
	}
	var body struct {
		Error struct {
			InnerError struct{ Code string }
		}
	}
	must(0, json.Unmarshal(must(runtime.Payload(answer.RawResponse)), &body))
	text := fmt.Sprintf("%d %s %s", answer.StatusCode, answer.ErrorCode, body.Error.InnerError.Code)
	return strings.TrimSpace(text)
}

// The double is no host that the SDK knows, and its authority signs with a key of its own.
func clientOptions() azcore.ClientOptions {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(must(os.ReadFile(double.CA))) {
		panic("no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: double.Authority},
		Transport: &http.Client{Transport: transport},
	}
}

// Asks for short pages; the SDK has no option for it.
type shortPages struct{}

func (shortPages) Do(request *policy.Request) (*http.Response, error) {
	query := request.Raw().URL.Query()
	query.Set("maxresults", "10")
	request.Raw().URL.RawQuery = query.Encode()
	return request.Next()
}

func client(credential azcore.TokenCredential, policies ...policy.Policy) *azsecrets.Client {
	options := clientOptions()
	options.PerCallPolicies = policies
	return must(azsecrets.NewClient(double.VaultURL, credential, &azsecrets.ClientOptions{
		ClientOptions:                        options,
		DisableChallengeResourceVerification: true,
	}))
}

func withSecret(who principal) azcore.TokenCredential {
	return must(azidentity.NewClientSecretCredential(double.Tenant, who.ClientID, who.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: clientOptions(), DisableInstanceDiscovery: true}))
}

func control(method, path string, body any) map[string]int {
	var data io.Reader
	if body != nil {
		data = bytes.NewReader(must(json.Marshal(body)))
	}
	response := must(http.DefaultClient.Do(must(http.NewRequest(method, double.Control+"/"+path, data))))
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		panic(response.Status)
	}
	var found map[string]int
	if text := must(io.ReadAll(response.Body)); len(text) > 0 {
		must(0, json.Unmarshal(text, &found))
	}
	return found
}

// Tries again while there is no such secret, or a conflict: for what takes a while.
func until[T any](action func() (T, error)) T {
	for range 100 {
		value, err := action()
		var answer *azcore.ResponseError
		if !errors.As(err, &answer) || answer.StatusCode != 404 && answer.StatusCode != 409 {
			return must(value, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	panic("it takes too long")
}

func tags(found map[string]*string) string {
	var pairs []string
	for name, value := range found {
		pairs = append(pairs, name+"="+*value)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}

func properties(id *azsecrets.ID, contentType *string, found map[string]*string, is *azsecrets.SecretAttributes) []any {
	return []any{
		id.Name(), *contentType, tags(found), yes(*is.Enabled), is.NotBefore.UTC().Format(time.DateOnly),
		is.Expires.UTC().Format(time.DateOnly), *is.RecoveryLevel, *is.RecoverableDays,
	}
}

func set(vault *azsecrets.Client, name, value string) error {
	_, err := vault.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: to.Ptr(value)}, nil)
	return err
}

func get(vault *azsecrets.Client, name, version string) error {
	_, err := vault.GetSecret(ctx, name, version, nil)
	return err
}

func value(vault *azsecrets.Client, name string) string {
	return *must(vault.GetSecret(ctx, name, "", nil)).Value
}

func countVersions(vault *azsecrets.Client) int {
	count := 0
	for pager := vault.NewListSecretPropertiesVersionsPager(name, nil); pager.More(); {
		count += len(must(pager.NextPage(ctx)).Value)
	}
	return count
}

func versions(vault *azsecrets.Client) {
	one := must(vault.SetSecret(ctx, name, azsecrets.SetSecretParameters{
		Value:            to.Ptr(first),
		ContentType:      to.Ptr("text/plain"),
		Tags:             map[string]*string{"a": to.Ptr("1"), "b": to.Ptr("2")},
		SecretAttributes: &azsecrets.SecretAttributes{NotBefore: &begin, Expires: &end},
	}, nil))
	say("created", properties(one.ID, one.ContentType, one.Tags, one.Attributes)...)
	inside := strings.HasPrefix(string(*one.ID), double.VaultURL+"/secrets/")
	say("version", yes(len(one.ID.Version()) == 32), yes(inside))
	say("read", yes(value(vault, name) == first))
	must(0, set(vault, name, second))
	say("current", yes(value(vault, name) == second))
	old := must(vault.GetSecret(ctx, name, one.ID.Version(), nil))
	say("first version", yes(*old.Value == first), tags(old.Tags))
	say("in capitals", must(vault.GetSecret(ctx, strings.ToUpper(name), "", nil)).ID.Name())
	say("versions", countVersions(vault))
	empty := must(vault.SetSecret(ctx, "story-empty", azsecrets.SetSecretParameters{Value: to.Ptr("")}, nil))
	say("empty value", yes(*empty.Value == ""))
}

func pages(vault *azsecrets.Client, short *azsecrets.Client) {
	for number := range 30 {
		must(0, set(vault, fmt.Sprintf("page-%02d", number), "kfcanary-storypage"))
	}
	var lengths, managed []any
	var names []string
	for pager := vault.NewListSecretPropertiesPager(nil); pager.More(); {
		page := must(pager.NextPage(ctx))
		lengths = append(lengths, len(page.Value))
		for _, secret := range page.Value {
			names = append(names, secret.ID.Name())
			if secret.Managed != nil && *secret.Managed {
				managed = append(managed, secret.ID.Name())
			}
		}
	}
	say("pages", lengths...)
	say("first and last", names[0], names[len(names)-1])
	say("managed", managed...)
	lengths = nil
	for pager := short.NewListSecretPropertiesPager(nil); pager.More(); {
		lengths = append(lengths, len(must(pager.NextPage(ctx)).Value))
	}
	say("pages of ten", lengths...)
}

func update(vault *azsecrets.Client, parameters azsecrets.UpdateSecretPropertiesParameters) []any {
	secret := must(vault.UpdateSecretProperties(ctx, name, "", parameters, nil))
	return properties(secret.ID, secret.ContentType, secret.Tags, secret.Attributes)
}

func updates(vault *azsecrets.Client) {
	say("updated", update(vault, azsecrets.UpdateSecretPropertiesParameters{
		ContentType:      to.Ptr("text/html"),
		Tags:             map[string]*string{"c": to.Ptr("3")},
		SecretAttributes: &azsecrets.SecretAttributes{NotBefore: &begin, Expires: &later},
	})...)
	enable := func(enabled bool) []any {
		attributes := &azsecrets.SecretAttributes{Enabled: &enabled}
		return update(vault, azsecrets.UpdateSecretPropertiesParameters{SecretAttributes: attributes})
	}
	enable(false)
	say("disabled", failure(get(vault, name, "")))
	say("enabled", enable(true)...)
	say("read again", yes(value(vault, name) == second))
}

func deletion(vault *azsecrets.Client) {
	getDeleted := func() (azsecrets.GetDeletedSecretResponse, error) { return vault.GetDeletedSecret(ctx, name, nil) }
	must(vault.DeleteSecret(ctx, name, nil))
	say("gone", failure(get(vault, name, "")))
	say("put while it is deleted", failure(set(vault, name, third)))
	deleted := until(getDeleted)
	kept := deleted.ScheduledPurgeDate.Sub(*deleted.DeletedDate)
	parts := strings.Split(*deleted.RecoveryID, "/")
	say("deleted", deleted.ID.Name(), parts[len(parts)-2], int(kept.Hours()/24))
	say("put when it is deleted", failure(set(vault, name, third)))
	var names []any
	for pager := vault.NewListDeletedSecretPropertiesPager(nil); pager.More(); {
		for _, secret := range must(pager.NextPage(ctx)).Value {
			names = append(names, secret.ID.Name())
		}
	}
	say("listed as deleted", names...)
	must(vault.RecoverDeletedSecret(ctx, name, nil))
	recovered := until(func() (azsecrets.GetSecretResponse, error) { return vault.GetSecret(ctx, name, "", nil) })
	say("recovered", yes(*recovered.Value == second))
	must(vault.DeleteSecret(ctx, name, nil))
	until(getDeleted)
	must(vault.PurgeDeletedSecret(ctx, name, nil))
	say("put while it is purged", failure(set(vault, name, third)))
	until(func() (int, error) { return 0, set(vault, name, third) })
	say("versions after the purge", countVersions(vault))
}

func wrongs(vault *azsecrets.Client) {
	say("no such secret", failure(get(vault, "story-none", "")))
	say("no such version", failure(get(vault, name, strings.Repeat("0", 32))))
	say("invalid name", failure(get(vault, "a_b", "")))
	say("value too large", failure(set(vault, name, strings.Repeat("v", 25_601))))
	tags := map[string]*string{}
	for number := range 16 {
		tags[fmt.Sprint(number)] = to.Ptr("")
	}
	_, err := vault.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: to.Ptr(third), Tags: tags}, nil)
	say("too many tags", failure(err))
	_, err = vault.DeleteSecret(ctx, double.ManagedSecret, nil)
	say("managed", failure(err))
	_, err = vault.BackupSecret(ctx, name, nil)
	say("backup", failure(err))
}

func permissions() {
	for _, role := range []string{"all", "read-only", "get-only", "list-only", "nothing"} {
		vault := client(withSecret(double.Principals[role]))
		_, list := vault.NewListSecretPropertiesPager(nil).NextPage(ctx)
		say(role, "get:", failure(get(vault, name, "")), "list:", failure(list),
			"set:", failure(set(vault, "story-role", third)))
	}
}

func throttling(vault *azsecrets.Client) {
	before := control("GET", "counts", nil)["get"]
	control("POST", "faults", map[string]any{"route": "get", "status": 429, "count": 2, "retry_after": 1})
	start := time.Now()
	read := value(vault, name) == third
	waited := time.Since(start) >= 2*time.Second
	say("throttled twice", yes(read), yes(waited), control("GET", "counts", nil)["get"]-before)
	control("POST", "faults", map[string]any{"route": "set", "status": 503})
	say("unavailable once", yes(set(vault, "story-again", third) == nil))
}

// Brings requests for the one address that every machine of Azure has to the double.
type toDouble struct{ policy.Transporter }

func (transport toDouble) Do(request *http.Request) (*http.Response, error) {
	if request.URL.Host == "169.254.169.254" {
		imds := must(url.Parse(double.IMDS))
		request.URL.Host, request.Host = imds.Host, imds.Host
	}
	return transport.Transporter.Do(request)
}

func credentials() {
	reads := func(what string, credential azcore.TokenCredential) {
		say(what, yes(value(client(credential), name) == third))
	}
	all := double.Principals["all"]
	chain, key, err := azidentity.ParseCertificates(must(os.ReadFile(double.Certificate)), nil)
	must(0, err)
	reads("certificate", must(azidentity.NewClientCertificateCredential(double.Tenant, all.ClientID, chain, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: clientOptions(), DisableInstanceDiscovery: true})))
	reads("workload identity", must(azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: clientOptions(), DisableInstanceDiscovery: true,
		TenantID: double.Tenant, ClientID: all.ClientID, TokenFilePath: double.FederatedToken,
	})))
	options := clientOptions()
	options.Transport = toDouble{options.Transport}
	managed := func(id azidentity.ManagedIDKind) azcore.TokenCredential {
		return must(azidentity.NewManagedIdentityCredential(
			&azidentity.ManagedIdentityCredentialOptions{ClientOptions: options, ID: id}))
	}
	reads("managed identity of the machine", managed(nil))
	reads("managed identity by client id", managed(azidentity.ClientID(double.Principals["get-only"].ClientID)))
	os.Setenv("IDENTITY_ENDPOINT", double.AppService)
	os.Setenv("IDENTITY_HEADER", double.AppServiceHeader)
	reads("managed identity of App Service", managed(nil))
	for _, wrong := range []struct {
		what string
		who  principal
	}{
		{"wrong secret", principal{all.ClientID, "wrong"}},
		{"unknown application", principal{"00000000-0000-0000-0000-000000000000", all.ClientSecret}},
	} {
		scopes := policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}}
		_, err := withSecret(wrong.who).GetToken(ctx, scopes)
		say(wrong.what, regexp.MustCompile(`AADSTS\d+`).FindString(err.Error()))
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Println("usage: story double.json")
		return
	}
	must(0, json.Unmarshal(must(os.ReadFile(os.Args[1])), &double))
	credential := withSecret(double.Principals["all"])
	vault := client(credential)
	versions(vault)
	pages(vault, client(credential, shortPages{}))
	updates(vault)
	deletion(vault)
	wrongs(vault)
	permissions()
	throttling(vault)
	credentials()
}
